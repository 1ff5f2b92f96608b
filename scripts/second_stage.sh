#!/usr/bin/env bash
# Two stages of training: MRPC for one epoch, then again from those weights with a new plan. After a stop, the same
# command continues the stage that was stopped.
#
#   scripts/second_stage.sh MRPC_FOLDER MODEL_FOLDER OUTPUT_FOLDER
#
# MODEL_FOLDER holds bert_model.ckpt.*, bert_config.json, vocab.txt, as scripts/quickstart.sh makes in quickstart/model.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"
[ $# = 3 ] || { sed -n '2,7s/^# \{0,1\}//p' "$0" >&2; exit 2; }
data=$(cd "$1" && pwd) model=$(cd "$2" && pwd)
mkdir -p "$3"
output=$(cd "$3" && pwd)
cd "$ROOT"
need_environment .venv requirements.txt 3.11 3.12 3.13 3.10

stage() {
  "$PYTHON" run_classifier.py --task_name=mrpc --data_dir="$data" --do_train --do_eval --checkpoint=last \
    --bert_config_file="$model/bert_config.json" --vocab_file="$model/vocab.txt" --num_train_epochs=1 \
    --eval_batch_size=32 --keep_checkpoint_max=1 "$@"
}
stage --output_dir="$output/stage1" --init_checkpoint="$model/bert_model.ckpt"
# Takes the weights only: step 0, empty slots and a new plan. Continuing stage 1 instead would find it finished.
stage --output_dir="$output/stage2" --init_checkpoint="$output/stage1" --resume_mode=weights --learning_rate=3e-5
