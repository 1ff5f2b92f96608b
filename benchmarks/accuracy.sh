#!/usr/bin/env bash
# Dev scores of MRPC and of SST-2's first 3200 rows, in float32 and bfloat16: mean ± sd over seeds, as a Markdown table.
# A finished run is not repeated.
#
#   benchmarks/accuracy.sh GLUE_FOLDER MODEL_FOLDER OUTPUT_FOLDER [SEEDS] [PYTHON…]
#
# Hardware: 2 cores (AVX-512), no GPU
# Minutes:  1.5 for SST-2 and 3 for MRPC, a seed and precision
# Scores:   accuracy of SST-2 .829 ± .003 (bfloat16 .828 ± .005), MRPC .794 ± .015 (.786 ± .009); TensorFlow 2.21,
#           all-MiniLM-L6-v2, seeds 1 2 3
#
# MODEL_FOLDER holds bert_model.ckpt.*, bert_config.json, vocab.txt. PYTHON: interpreters of other environments, which run
# float32 alone.
set -euo pipefail
[ $# -ge 3 ] || { sed -n '2,15s/^# \{0,1\}//p' "$0" >&2; exit 2; }
source "$(dirname "${BASH_SOURCE[0]}")/../scripts/environment.sh"
data=$(cd "$1" && pwd) model=$(cd "$2" && pwd)
mkdir -p "$3"
output=$(cd "$3" && pwd)
read -ra seeds <<<"${4:-1 2 3}"
shift $(($# < 4 ? $# : 4))
cd "$ROOT"
need_environment .venv requirements.txt 3.11 3.12 3.13 3.10
pythons=("$PYTHON" "$@")

mkdir -p "$output/sst-2-3200"
head -n 3201 "$data/SST-2/train.tsv" >"$output/sst-2-3200/train.tsv"
cp "$data/SST-2/dev.tsv" "$output/sst-2-3200/"
for python in "${pythons[@]}"; do
  version=$("$python" -c 'import tensorflow as tf; print(tf.__version__)' 2>/dev/null)
  precisions=(float32)
  [ "$python" != "$PYTHON" ] || precisions+=(bfloat16)
  for seed in "${seeds[@]}"; do
    for task in sst-2 mrpc; do
      folder=$data/MRPC
      [ "$task" = mrpc ] || folder=$output/sst-2-3200
      for precision in "${precisions[@]}"; do
        "$python" run_classifier.py --task_name=$task --data_dir="$folder" --do_train --do_eval --checkpoint=last \
          --bert_config_file="$model/bert_config.json" --vocab_file="$model/vocab.txt" \
          --init_checkpoint="$model/bert_model.ckpt" --precision="$precision" --seed="$seed" \
          --output_dir="$output/tf$version-$precision-$task-seed$seed" --eval_batch_size=32 --keep_checkpoint_max=1
      done
    done
  done
done
"$PYTHON" benchmarks/score_table.py "$output"/tf*-seed*
