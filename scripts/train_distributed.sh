#!/usr/bin/env bash
# Runs a command on several GPUs, as a worker of several machines, or on a TPU: sets the variables that TensorFlow reads,
# and adds the flags.
#
#   scripts/train_distributed.sh gpus run_classifier.py --task_name=mnli …            # all GPUs; --devices names some
#   scripts/train_distributed.sh worker 0 10.0.0.1:2222,10.0.0.2:2222 run_classifier.py …  # on the first machine
#   scripts/train_distributed.sh worker 1 10.0.0.1:2222,10.0.0.2:2222 run_classifier.py …  # on the second
#   scripts/train_distributed.sh tpu local run_classifier.py …                        # on a TPU VM
#   scripts/train_distributed.sh tpu NAME run_classifier.py --cache_dir=gs://BUCKET/FOLDER …
#
# PYTHON  the interpreter (default: .venv's; for a TPU .venv-tf2.15's, since TensorFlow 2.15 is the last with Estimator)
# See docs/distribution.md and docs/tpu.md.
set -euo pipefail
usage() {
  sed -n '5,9s/^# \{0,3\}//p' "${BASH_SOURCE[0]}" >&2
  exit 2
}

need_python() {
  if [ -z "${PYTHON:-}" ]; then
    source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"
    need_environment "$@"
  fi
}

kind=${1:-}
[ $# -gt 1 ] || usage
shift
case $kind in
  gpus)
    need_python .venv requirements-test.txt 3.11 3.12 3.13 3.10
    flags=(--distribution=mirrored)
    ;;
  worker)
    [ $# -gt 2 ] || usage
    export TF_CONFIG="{\"cluster\": {\"worker\": [\"${2//,/\", \"}\"]}, \"task\": {\"type\": \"worker\", \"index\": $1}}"
    shift 2
    need_python .venv requirements-test.txt 3.11 3.12 3.13 3.10
    flags=(--distribution=multi_worker)
    ;;
  tpu)
    [ $# -gt 1 ] || usage
    need_python .venv-tf2.15 requirements-tf2.15.txt 3.10 3.11 3.9
    flags=(--use_tpu "--tpu_name=$1")
    shift
    ;;
  *) usage ;;
esac
script=$1
shift
exec "$PYTHON" "$script" "${flags[@]}" "$@"
