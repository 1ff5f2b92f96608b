#!/usr/bin/env bash
# The tests that take minutes each, on TensorFlow 2.21, 2.15 and 1.15.5: a run resumed from every step, and stopped by
# signals at random moments (at least 50 SIGKILLs on 2.21, 4 on the others); several workers, of which one is killed (on
# 2.15 and 1.15.5 a part of these tests); the whole train step under XLA. About 25 minutes on 2 cores.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"
cd "$ROOT"
need_environment .venv requirements-test.txt 3.11 3.12 3.13 3.10
run_pytest -m slow "$@"
STEADY_BERT_KILLS=4 scripts/test_compat.sh -m slow -k "not multi_worker or plateau or killed" "$@"
