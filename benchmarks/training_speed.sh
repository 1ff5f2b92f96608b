#!/usr/bin/env bash
# Training examples/s and peak memory beside PyTorch and transformers, on the same batches of SST-2 and MRPC, and beside
# google-research/bert's figure; then what share of the machine's matrix rate a step reaches, and which operations take
# its time. Prints Markdown tables, writes training_speed.json and matrix_rate.json into the current folder.
#
#   benchmarks/training_speed.sh GLUE_FOLDER VOCAB_FILE [OPTION…]
#
# Minutes:  about 60 on 2 cores, alone on the machine
# Targets:  in the tables
#
# GLUE_FOLDER holds SST-2/train.tsv and MRPC/train.tsv. OPTIONs go to training_speed.py, which runs alone then:
# --pairs=1, --only="mrpc ours none bfloat16 / torch". Without a Python 3.7 the row of TensorFlow 1.15.5 is left out.
set -euo pipefail
[ $# -ge 2 ] || { sed -n '2,12s/^# \{0,1\}//p' "$0" >&2; exit 2; }
source "$(dirname "${BASH_SOURCE[0]}")/../scripts/environment.sh"
data=$(cd "$1" && pwd)
vocabulary=$(cd "$(dirname "$2")" && pwd)/$(basename "$2")
shift 2
need_environment .venv-torch benchmarks/requirements-torch.txt 3.11 3.12 3.10
torch=$PYTHON
tf1=
if [ -x "$ROOT/.venv-tf1.15/bin/python" ] || find_python 3.7 >/dev/null; then
  need_environment .venv-tf1.15 requirements-tf1.15.txt 3.7
  tf1=$PYTHON
else
  echo "Left out: TensorFlow 1.15.5; no Python 3.7 was found." >&2
fi
need_environment .venv requirements.txt 3.11 3.12 3.13 3.10
inputs=(--data="$data" --vocab_file="$vocabulary")
"$PYTHON" "$ROOT/benchmarks/training_speed.py" "${inputs[@]}" --torch="$torch" --tf1="$tf1" "$@"
if [ $# = 0 ]; then
  "$PYTHON" "$ROOT/benchmarks/matrix_rate.py" "${inputs[@]}"
  "$PYTHON" "$ROOT/benchmarks/step_profile.py" "${inputs[@]}"
fi
