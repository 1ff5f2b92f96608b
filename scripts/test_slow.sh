#!/usr/bin/env bash
# The tests that take minutes each, on TensorFlow 2.21, 2.15 and 1.15.5: a run resumed from every step, and stopped by
# signals at random moments (at least 50 SIGKILLs); several workers, one of which is killed; the whole train step under
# XLA. On 2.15 and 1.15.5: every 11th step, 4 SIGKILLs, not every optimizer, and for several workers only the kills.
# About an hour on 2 cores; less than 20 minutes with STEADY_BERT_KILLS=0 STEADY_BERT_RESUME_EVERY=11, as in CI, where
# scripts/reliability.py --short kills on 2.21.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"
cd "$ROOT"
need_environment .venv requirements-test.txt 3.11 3.12 3.13 3.10
run_pytest -m slow "$@"
export STEADY_BERT_KILLS=4 STEADY_BERT_RESUME_EVERY=11
scripts/test_compat.sh -m "slow and not without_tensorflow" -k "not every_optimizer and (not multi_worker or killed)" "$@"
