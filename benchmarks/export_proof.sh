#!/usr/bin/env bash
# Fine-tunes MiniLM on MRPC and on WNUT-17, exports both in every form, and proves each export on all of dev:
# Hugging Face's through transformers, a SavedModel through TensorFlow alone, the original's files through stock operations.
# Prints a Markdown table of export_check.json; the runs and exports stay in OUTPUT.
#
#   benchmarks/export_proof.sh MODEL_FOLDER DATA_FOLDER OUTPUT
#
# Minutes:  about 12 on 2 cores
# Target:   logits within 1e-5, every decision the same
#
# MODEL_FOLDER holds bert_model.ckpt, bert_config.json and vocab.txt (quickstart/model after scripts/quickstart.sh);
# DATA_FOLDER holds MRPC/ and WNUT17/ (wnut17train.conll, emerging.dev.conll).
set -euo pipefail
[ $# = 3 ] || { sed -n '2,14s/^# \{0,1\}//p' "$0" >&2; exit 2; }
source "$(dirname "${BASH_SOURCE[0]}")/../scripts/environment.sh"
model=$(cd "$1" && pwd)
data=$(cd "$2" && pwd)
mkdir -p "$3"
output=$(cd "$3" && pwd)
need_environment .venv-torch benchmarks/requirements-torch.txt 3.11 3.12 3.10
torch=$PYTHON
need_environment .venv requirements.txt 3.11 3.12 3.13 3.10
cd "$ROOT"
weights=(--bert_config_file="$model/bert_config.json" --vocab_file="$model/vocab.txt" --init_checkpoint="$model/bert_model.ckpt")
"$PYTHON" run_classifier.py --task_name=mrpc --data_dir="$data/MRPC" "${weights[@]}" --do_train \
  --max_seq_length=128 --num_train_epochs=1 --learning_rate=1e-4 --output_dir="$output/mrpc"
"$PYTHON" run_ner.py --train_file="$data/WNUT17/wnut17train.conll" --dev_file="$data/WNUT17/emerging.dev.conll" "${weights[@]}" \
  --do_train --max_seq_length=64 --num_train_epochs=2 --learning_rate=1e-4 --output_dir="$output/wnut17"
for run in mrpc wnut17; do
  "$PYTHON" scripts/export_model.py --model_dir="$output/$run" --to=huggingface --output="$output/$run-huggingface" \
    --check_python="$torch"
  "$PYTHON" scripts/export_model.py --model_dir="$output/$run" --to=saved_model --output="$output/$run-saved_model"
  "$PYTHON" scripts/export_model.py --model_dir="$output/$run" --to=tf1 --activation=tanh --output="$output/$run-tf1"
done
"$PYTHON" - "$output"/*/export_check.json <<'PYTHON'
import json, os, sys

print("| export | by | outputs | largest difference of a logit | decisions that differ |\n|---|---|---|---|---|")
for path in sys.argv[1:]:
    with open(path, encoding="utf-8") as file:
        check = json.load(file)
    name = os.path.basename(os.path.dirname(path)).replace("-", ", ")
    row = "| {} | {} | {:,} | {:.1e} | {} |"
    print(row.format(name, check["by"], check["outputs"], check["largest_difference"], check["decisions_that_differ"]))
PYTHON
