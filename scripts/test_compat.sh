#!/usr/bin/env bash
# The tests that touch TensorFlow, on 2.15 and 1.15.5, each in its own environment; about 8 minutes each on 2 cores.
# Arguments go to pytest. A missing interpreter is reported and skipped; with CI=true it is an error.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"
cd "$ROOT"
skipped=0
others=

# compat VERSION PYTHON_VERSION…
compat() {
  local tf=$1
  shift
  if [ ! -x "$ROOT/.venv-tf$tf/bin/python" ] && ! find_python "$@" >/dev/null; then
    echo "################################################################"
    echo "## SKIPPED: TensorFlow $tf — no Python $* found"
    echo "################################################################"
    skipped=$((skipped + 1))
    return 0
  fi
  need_environment ".venv-tf$tf" "requirements-tf$tf.txt" "$@"
  echo "== TensorFlow $("$PYTHON" -c 'import tensorflow as tf; print(tf.__version__)' 2>/dev/null)"
  others=$others$PYTHON:
  run_pytest -p no:cacheprovider -m "not slow and not without_tensorflow" ${PYTEST_ARGUMENTS[@]+"${PYTEST_ARGUMENTS[@]}"}
}

PYTEST_ARGUMENTS=("$@")
compat 2.15 3.10 3.11 3.9
compat 1.15 3.7
if [ -n "$others" ] && [ $# = 0 ]; then
  need_environment .venv requirements-test.txt 3.11 3.12 3.13 3.10
  echo "== A run moved between TensorFlows"
  STEADY_BERT_OTHER_PYTHONS=$others run_pytest -p no:cacheprovider tests/cross_version_test.py
fi
if [ "$skipped" -gt 0 ] && [ "${CI:-}" = true ]; then
  echo "error: $skipped of 2 TensorFlows were skipped, which CI does not accept." >&2
  exit 1
fi
