#!/usr/bin/env bash
# Makes the environment, then lint, types and tests on TensorFlow 2.21; about 9 minutes on 2 cores. The quick tests come first.
# Arguments go to pytest: scripts/test.sh -k plan
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"
cd "$ROOT"
need_environment .venv requirements-test.txt 3.11 3.12 3.13 3.10
"$PYTHON" -m ruff check .
"$PYTHON" -m ruff format --check .
types=$(mktemp)
trap 'rm -f "$types"' EXIT
"$PYTHON" -m mypy --no-error-summary ./*.py steady_bert scripts benchmarks >"$types" 2>&1 &
mypy=$!
status=0
run_pytest "$@" || status=$?
wait "$mypy" || { cat "$types" >&2 && status=1; }
exit "$status"
