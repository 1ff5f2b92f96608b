#!/usr/bin/env bash
# GLUE from its official files: trains, scores dev, predicts test, writes a table and the file to upload.
#
#   scripts/run_glue.sh [TASKS] [SEEDS] [FLAGS…]        scripts/run_glue.sh "mrpc rte" "1 2 3"
#
# TASKS: "all", or some of cola sst-2 mrpc sts-b qqp mnli qnli rte wnli ax; SEEDS: 1 when not given; FLAGS go to
# run_classifier.py. A task without a folder is skipped. After a stop, the same command continues.
#
#   GLUE_DIR   the official folders CoLA, SST-2, …           glue
#   BERT_DIR   bert_model.ckpt.*, bert_config.json, vocab.txt   quickstart/model, which scripts/quickstart.sh makes
#   RUNS_DIR   a folder for each run, results.md, submission.zip  runs/glue
#
# Command:  scripts/run_glue.sh "cola mrpc rte sts-b" 1; scripts/run_glue.sh sst-2 1 --num_train_epochs=1
# Hardware: 2 cores (AVX-512), no GPU, other jobs running
# Minutes:  CoLA 4, MRPC 6, RTE 6, STS-B 11, SST-2 17
# Scores:   CoLA .228 (Matthews), MRPC .797 / .861 (accuracy, F1), RTE .542, STS-B .861 / .862 (Pearson, Spearman),
#           SST-2 .898; all-MiniLM-L6-v2, one seed, the last checkpoint
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"
source "$(dirname "${BASH_SOURCE[0]}")/resumable.sh"
tasks=${1:-all} seeds=${2:-1}
shift $(($# < 2 ? $# : 2))
glue=${GLUE_DIR:-$ROOT/glue} model=${BERT_DIR:-$ROOT/quickstart/model} runs=${RUNS_DIR:-$ROOT/runs/glue}
[ "$tasks" != all ] || tasks="cola sst-2 mrpc sts-b qqp mnli qnli rte wnli ax"
glue=$(cd "$glue" 2>/dev/null && pwd) || { echo "error: GLUE_DIR=${GLUE_DIR:-glue} is not a folder. Set GLUE_DIR to the folder that holds CoLA, SST-2, …" >&2; exit 2; }
model=$(cd "$model" 2>/dev/null && pwd) || { echo "error: BERT_DIR=${BERT_DIR:-quickstart/model} is not a folder. Set it, or run scripts/quickstart.sh." >&2; exit 2; }
mkdir -p "$runs"
runs=$(cd "$runs" && pwd)
cd "$ROOT"
need_environment .venv requirements.txt 3.11 3.12 3.13 3.10

folder_of() {
  case $1 in
    cola) echo CoLA ;; sst-2) echo SST-2 ;; mrpc) echo MRPC ;; sts-b) echo STS-B ;; qqp) echo QQP ;; mnli) echo MNLI ;;
    qnli) echo QNLI ;; rte) echo RTE ;; wnli) echo WNLI ;; ax) echo AX ;;
    *) echo "error: $1 is not a GLUE task." >&2; exit 2 ;;
  esac
}

for seed in $seeds; do
  for task in $tasks; do
    data=$glue/$(folder_of "$task")
    if [ ! -d "$data" ]; then
      echo "SKIPPED $task: there is no $data."
    elif [ "$task" = ax ] && [ ! -f "$runs/mnli-seed$seed/done" ]; then
      echo "SKIPPED ax: a model of mnli predicts it. Run mnli first."
    elif [ "$task" = ax ]; then
      resumable run_classifier.py "ax-seed$seed" --task_name=ax --data_dir="$data" --do_predict --model_dir="$runs/mnli-seed$seed" --checkpoint=last
    else
      # A few rows of the official QQP lack columns.
      resumable run_classifier.py "$task-seed$seed" --task_name="$task" --data_dir="$data" --do_train --do_eval --do_predict --checkpoint=last \
        --bert_config_file="$model/bert_config.json" --vocab_file="$model/vocab.txt" \
        --init_checkpoint="$model/bert_model.ckpt" --seed="$seed" --keep_checkpoint_max=1 --eval_batch_size=32 \
        --predict_batch_size=32 --log_every_steps=50 --skip_bad_lines=$([ "$task" = qqp ] && echo 100 || echo 0) "$@"
    fi
  done
done
"$PYTHON" scripts/glue_results.py "$runs"
