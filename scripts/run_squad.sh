#!/usr/bin/env bash
# Trains on questions in SQuAD's JSON, answers the dev questions, and prints exact match and F1.
#
#   scripts/run_squad.sh TRAIN.json DEV.json [MODEL_FOLDER [OUTPUT_FOLDER [FLAGS…]]]
#
# MODEL_FOLDER: the BERT (quickstart/model, which scripts/quickstart.sh makes). OUTPUT_FOLDER: runs/squad. FLAGS go to
# run_squad.py, as --version_2_with_negative --tune_null_threshold for SQuAD 2.0. After a stop, the same command goes on.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"
[ $# -ge 2 ] && [ -f "$1" ] && [ -f "$2" ] || { sed -n '2,7s/^# \{0,1\}//p' "$0" >&2; exit 2; }
train=$(realpath "$1") dev=$(realpath "$2") model=$(realpath -m "${3:-$ROOT/quickstart/model}")
output=$(realpath -m "${4:-$ROOT/runs/squad}")
[ -d "$model" ] || { echo "error: there is no folder $model. scripts/quickstart.sh makes quickstart/model." >&2; exit 2; }
shift $(($# < 4 ? $# : 4))
cd "$ROOT"
need_environment .venv requirements.txt 3.11 3.12 3.13 3.10

"$PYTHON" run_squad.py --do_train --do_eval --do_predict --train_file="$train" --dev_file="$dev" --predict_file="$dev" \
  --model="$model" --output_dir="$output" --eval_batch_size=32 --predict_batch_size=32 "$@"
"$PYTHON" -c 'import json, sys; r = json.load(open(sys.argv[1])); print("step {global_step}: exact match {exact_match:.2%}, F1 {f1:.2%}".format(**r))' \
  "$output/eval_results.json"
