#!/usr/bin/env bash
# CLUE from its official files: trains, scores dev, predicts test, writes a table and the file to upload.
#
#   scripts/run_clue.sh [TASKS] [SEEDS] [FLAGS…]        scripts/run_clue.sh "tnews csl" "1 2 3"
#
# TASKS: "all", or some of afqmc tnews iflytek cmnli wsc csl cluener; SEEDS: 1 when not given; FLAGS go to
# run_classifier.py and, for cluener, run_ner.py. A task without a folder is skipped. After a stop, the same command
# continues. Batches, rates and epochs of the six are those that CLUE's README gives for BERT-base; without
# CHINESE_BERT_DIR, 8 epochs at 5e-4.
#
#   CLUE_DIR      folders with train.json, dev.json, test.json, named as the task or as published (afqmc_public, …)   clue
#   CHINESE_BERT_DIR  bert_model.ckpt.*, bert_config.json, vocab.txt
#   CHINESE_VOCAB the vocabulary of Chinese BERT. Without CHINESE_BERT_DIR a small BERT is trained from scratch
#   RUNS_DIR      a folder for each run, results.md, submission.zip   runs/clue
#
# Command:  scripts/run_clue.sh cluener 1
# Hardware: one core of two (AVX-512), no GPU, another run beside it
# Minutes:  CLUENER 9
# Scores:   CLUENER .512 entity F1 on dev, a small Chinese BERT from random weights, by scripts/run_ner.sh with the same flags.
#           Not measured: AFQMC, TNEWS, IFLYTEK, CMNLI, CLUEWSC2020 and CSL, whose data was not at hand, nor Chinese BERT-base.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"
source "$(dirname "${BASH_SOURCE[0]}")/resumable.sh"
tasks=${1:-all} seeds=${2:-1}
shift $(($# < 2 ? $# : 2))
clue=${CLUE_DIR:-$ROOT/clue} runs=${RUNS_DIR:-$ROOT/runs/clue}
[ "$tasks" != all ] || tasks="afqmc tnews iflytek cmnli wsc csl cluener"
for task in $tasks; do
  [[ " afqmc tnews iflytek cmnli wsc csl cluener " == *" $task "* ]] || { echo "error: $task is not a task of this script. --help names them." >&2; exit 2; }
done
clue=$(cd "$clue" 2>/dev/null && pwd) || { echo "error: CLUE_DIR=${CLUE_DIR:-clue} is not a folder. Set CLUE_DIR to the folder that holds afqmc, tnews, …" >&2; exit 2; }
mkdir -p "$runs"
runs=$(cd "$runs" && pwd)
source "$(dirname "${BASH_SOURCE[0]}")/chinese_bert.sh"
cd "$ROOT"
need_environment .venv requirements.txt 3.11 3.12 3.13 3.10

for seed in $seeds; do
  for task in $tasks; do
    case $task in
      afqmc | tnews) settings=(--max_seq_length=128 --train_batch_size=16 --learning_rate=2e-5 --num_train_epochs=3) ;;
      iflytek) settings=(--max_seq_length=128 --train_batch_size=32 --learning_rate=2e-5 --num_train_epochs=3) ;;
      cmnli) settings=(--max_seq_length=128 --train_batch_size=64 --learning_rate=3e-5 --num_train_epochs=2) ;;
      wsc) settings=(--max_seq_length=128 --train_batch_size=8 --learning_rate=2e-5 --num_train_epochs=50) ;;
      csl) settings=(--max_seq_length=256 --train_batch_size=4 --learning_rate=1e-5 --num_train_epochs=5) ;;
      *) settings=() ;;
    esac
    data=
    for name in "$task" "${task}_public" "clue${task}2020_public" CLUENER-json; do
      [ -n "$data" ] || [ ! -f "$clue/$name/train.json" ] || [[ $name == CLUENER-json && $task != cluener ]] || data=$clue/$name
    done
    if [ -z "$data" ]; then
      echo "SKIPPED $task: $clue has no folder $task or ${task}_public with train.json."
      continue
    fi
    chinese_weights
    [ -z "$chinese" ] || [ "$task" = cluener ] || schedule=()
    predict=()
    [ ! -f "$data/test.json" ] || predict=(--do_predict)
    case $task in
      cluener) # CLUE's dev file chooses no checkpoint: it takes the place of the test file, which has no labels
        script=run_ner.py
        files=(--train_file="$data/train.json" --dev_file="$data/dev.json" --mend_tags)
        [ ! -f "$data/test.json" ] || files+=(--test_file="$data/test.json")
        ;;
      *)
        script=run_classifier.py
        files=(--task_name="$task" --data_dir="$data")
        ;;
    esac
    resumable "$script" "$task-seed$seed" "${files[@]}" "${model[@]}" "${begin[@]}" ${settings[@]+"${settings[@]}"} \
      ${schedule[@]+"${schedule[@]}"} --do_train --do_eval ${predict[@]+"${predict[@]}"} --checkpoint=last --seed="$seed" \
      --keep_checkpoint_max=1 --eval_batch_size=32 --predict_batch_size=32 --log_every_steps=50 "$@"
  done
done
"$PYTHON" scripts/glue_results.py "$runs" clue
