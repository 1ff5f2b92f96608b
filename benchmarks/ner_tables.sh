#!/usr/bin/env bash
# Tables of entity F1, of tasks of scripts/run_ner.sh; each row differs from the first in what its name says:
#
#   heads       softmax, crf, bilstm, bilstm_crf; a CRF and a BiLSTM learn at rates of their own
#   schedules   warm-up and linear decay, warm-up and a rate that is reduced when dev stalls
#   optimizers  adamw, radam, lookahead(adamw), ranger, each at a rate for WNUT-17
#
#   benchmarks/ner_tables.sh TABLE [TASKS] [SEEDS] [FLAGS…]       benchmarks/ner_tables.sh schedules wnut17 "1 2 3"
#
# Data and model come from where scripts/run_ner.sh finds them; RUNS_DIR is where runs go, runs/ner-tables when not set. The
# checkpoint is chosen on dev, twice an epoch, and test is scored by it. Stopped, the same command goes on where it was.
set -euo pipefail
[ $# -ge 1 ] || { sed -n '2,11s/^# \{0,1\}//p' "$0" >&2; exit 2; }
source "$(dirname "${BASH_SOURCE[0]}")/../scripts/environment.sh"
table=$1 tasks=${2:-wnut17} seeds=${3:-1}
shift $(($# < 3 ? $# : 3))
further=("$@") rows=()
runs=${RUNS_DIR:-$ROOT/runs/ner-tables}

# row NAME FLAG…
row() {
  local folder=$runs/$1
  shift
  RUNS_DIR=$folder "$ROOT/scripts/run_ner.sh" "$tasks" "$seeds" --eval_every_epochs=0.5 "$@" ${further[@]+"${further[@]}"}
  rows+=("$folder")
}

case $table in
  heads | schedules | optimizers) ;;
  *) echo "error: $table is no table. Give heads, schedules or optimizers." >&2; exit 2 ;;
esac
row baseline # a softmax, trained by adamw, warm-up and linear decay
case $table in
  heads)
    faster=bilstm/=5
    case $tasks in *wnut17* | *conll2003*) faster=bilstm/=10,output_=10 ;; esac # the rate of pre-trained weights is low
    row crf --head=crf --lr_multipliers=crf/=20
    row bilstm --head=bilstm --lr_multipliers="$faster"
    row bilstm_crf --head=bilstm_crf --lr_multipliers="crf/=20,$faster"
    ;;
  schedules) row plateau --lr_schedule=plateau ;;
  optimizers)
    row radam --optimizer=radam --learning_rate=8e-4
    row lookahead --lookahead_steps=5
    row ranger --optimizer=ranger --learning_rate=1.6e-3
    ;;
esac
need_environment .venv requirements.txt 3.11 3.12 3.13 3.10
"$PYTHON" "$ROOT/scripts/ner_results.py" "${rows[@]}" | tee "$runs/results-$table.md"
