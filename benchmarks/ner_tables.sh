#!/usr/bin/env bash
# Tables of entity F1 on WNUT-17, or another task of scripts/run_ner.sh; all else is equal within each:
#
#   heads       softmax, crf, bilstm, bilstm_crf; what is not the encoder learns at a rate of its own
#   schedules   warm-up and linear decay against a constant rate that is reduced when dev stalls
#   optimizers  adamw, radam, lookahead(adamw), ranger, each at the rate that benchmarks/optimizer_table.py found
#
#   benchmarks/ner_tables.sh TABLE [TASK] [SEEDS] [FLAGS…]       benchmarks/ner_tables.sh schedules wnut17 "1 2 3"
#
# Data and model come from where scripts/run_ner.sh finds them; RUNS_DIR is where runs go, runs/ner-tables when not set. The
# checkpoint is chosen on dev, and test is scored by it. Stopped, the same command goes on where it was.
set -euo pipefail
[ $# -ge 1 ] || { sed -n '2,11s/^# \{0,1\}//p' "$0" >&2; exit 2; }
source "$(dirname "${BASH_SOURCE[0]}")/../scripts/environment.sh"
table=$1 task=${2:-wnut17} seeds=${3:-1}
shift $(($# < 3 ? $# : 3))
further=("$@") rows=()
runs=${RUNS_DIR:-$ROOT/runs/ner-tables}/$table

# row NAME FLAG…
row() {
  local folder=$runs/$1
  shift
  RUNS_DIR=$folder "$ROOT/scripts/run_ner.sh" "$task" "$seeds" "$@" ${further[@]+"${further[@]}"}
  rows+=("$folder")
}

case $table in
  heads)
    row softmax
    row crf --head=crf --lr_multipliers=crf/=20
    row bilstm --head=bilstm --lr_multipliers=bilstm/=5
    row bilstm_crf --head=bilstm_crf --lr_multipliers=crf/=20,bilstm/=5
    ;;
  schedules)
    row decay --eval_every_epochs=0.5
    row plateau --eval_every_epochs=0.5 --lr_schedule=plateau --num_warmup_steps=0
    ;;
  optimizers)
    row adamw
    row radam --optimizer=radam --learning_rate=3.2e-3
    row lookahead --lookahead_steps=5
    row ranger --optimizer=ranger --learning_rate=3.2e-3
    ;;
  *) echo "error: $table is no table. Give heads, schedules or optimizers." >&2; exit 2 ;;
esac
need_environment .venv requirements.txt 3.11 3.12 3.13 3.10
"$PYTHON" "$ROOT/scripts/ner_results.py" "${rows[@]}"
