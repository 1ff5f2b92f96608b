#!/usr/bin/env bash
# Named entities: trains, scores dev and test, writes a table of entity F1.
#
#   scripts/run_ner.sh [TASKS] [SEEDS] [FLAGS…]        scripts/run_ner.sh wnut17 "1 2 3" --head=crf
#
# TASKS: "all", or some of wnut17 cluener cluener-bio time conll2003 peoples-daily, and a second stage, time-after-cluener:
# cluener's best weights, a new head, a new plan. SEEDS: 1 when not given; FLAGS go to run_ner.py. A task
# without a folder is skipped. After a stop, the same command continues.
#
#   NER_DIR       folders WNUT17, CLUENER-json, CLUENER-bio, time, conll2003, peoples-daily, as published   ner
#   BERT_DIR      bert_model.ckpt.*, bert_config.json, vocab.txt: English   quickstart/model, which scripts/quickstart.sh makes
#   CHINESE_VOCAB the vocabulary of Chinese BERT. Without CHINESE_BERT_DIR a small BERT is trained from scratch
#   CHINESE_BERT_DIR  the same three files as in BERT_DIR, for Chinese
#   RUNS_DIR      a folder for each run, results.md   runs/ner
#
# Command:  scripts/run_ner.sh "wnut17 cluener cluener-bio time time-after-cluener" 1
# Hardware: one core of two (AVX-512), no GPU, another run beside it
# Minutes:  WNUT-17 8, CLUENER 9 (JSON) and 12 (BIO), time 4, time after CLUENER 4
# Scores:   entity F1. WNUT-17 .548 ± .003 on dev, .418 ± .003 on test (3 seeds, all-MiniLM-L6-v2); with a small Chinese BERT from
#           random weights CLUENER .512 (JSON) and .494 (BIO) on dev, .610 with --head=crf, .692 with bilstm_crf; time .440 ± .009 on test (3 seeds),
#           .794 with --head=crf, after CLUENER .673
# Not run here: CoNLL-2003, whose licence forbids to pass it on, and People's Daily. Chinese BERT-base is published at .761 for CLUENER,
#           .889 for time, .925 for People's Daily.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"
source "$(dirname "${BASH_SOURCE[0]}")/resumable.sh"
tasks=${1:-all} seeds=${2:-1}
shift $(($# < 2 ? $# : 2))
ner=${NER_DIR:-$ROOT/ner} english=${BERT_DIR:-$ROOT/quickstart/model} runs=${RUNS_DIR:-$ROOT/runs/ner}
[ "$tasks" != all ] || tasks="wnut17 cluener cluener-bio time time-after-cluener conll2003 peoples-daily"
ner=$(cd "$ner" 2>/dev/null && pwd) || { echo "error: NER_DIR=${NER_DIR:-ner} is not a folder. Set NER_DIR to the folder that holds WNUT17, CLUENER-json, …" >&2; exit 2; }
mkdir -p "$runs"
runs=$(cd "$runs" && pwd)
[ ! -d "$english" ] || english=$(cd "$english" && pwd)
source "$(dirname "${BASH_SOURCE[0]}")/chinese_bert.sh"
cd "$ROOT"
need_environment .venv requirements.txt 3.11 3.12 3.13 3.10

for seed in $seeds; do
  for task in $tasks; do
    case $task in
      wnut17)
        folder=$ner/WNUT17
        files=(--train_file="$folder/wnut17train.conll" --dev_file="$folder/emerging.dev.conll"
          --test_file="$folder/emerging.test.annotated")
        ;;
      cluener) # the official test file has no labels, so dev takes its place and chooses no checkpoint
        folder=$ner/CLUENER-json
        files=(--train_file="$folder/train.json" --dev_file="$folder/dev.json" --mend_tags --checkpoint=last)
        ;;
      cluener-bio)
        folder=$ner/CLUENER-bio
        files=(--train_file="$folder/cluener.train" --dev_file="$folder/cluener.test" --mend_tags --checkpoint=last)
        ;;
      time | time-after-cluener)
        folder=$ner/time/split-with-dev
        files=(--train_file="$folder/time.train" --dev_file="$folder/time.dev" --test_file="$folder/time.test" --mend_tags
          --max_seq_length=192)
        ;;
      conll2003) # not run here: its licence forbids to pass it on
        folder=$ner/conll2003
        files=(--train_file="$folder/train.txt" --dev_file="$folder/valid.txt" --test_file="$folder/test.txt")
        ;;
      peoples-daily) # not run here
        folder=$ner/peoples-daily
        files=(--train_file="$folder/example.train" --dev_file="$folder/example.dev" --test_file="$folder/example.test"
          --mend_tags --max_seq_length=256)
        ;;
      *) echo "error: $task is not a task of this script." >&2; exit 2 ;;
    esac
    if [ ! -d "$folder" ]; then
      echo "SKIPPED $task: there is no $folder."
      continue
    fi
    case $task in
      wnut17 | conll2003)
        pretrained "$english"
        schedule=(--num_train_epochs=5 --learning_rate=1e-4)
        ;;
      *) chinese_weights ;;
    esac
    if [ "$task" = time-after-cluener ]; then
      first=$runs/cluener-seed$seed
      if [ ! -f "$first/done" ]; then
        echo "SKIPPED $task: $first has not finished. Run cluener first."
        continue
      fi
      begin=(--init_checkpoint="$first" --resume_mode=weights --reset_head)
    fi
    predict=(--do_predict)
    [[ " ${files[*]}" == *" --test_file="* ]] || predict=()
    resumable run_ner.py "$task-seed$seed" "${files[@]}" "${model[@]}" "${begin[@]}" "${schedule[@]}" --do_train --do_eval \
      ${predict[@]+"${predict[@]}"} --seed="$seed" --keep_checkpoint_max=1 --eval_batch_size=32 --predict_batch_size=32 \
      --log_every_steps=50 "$@"
  done
done
"$PYTHON" scripts/ner_results.py "$runs"
