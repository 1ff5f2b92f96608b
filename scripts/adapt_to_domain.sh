#!/usr/bin/env bash
# Goes on with the pre-training of a BERT on text of your own, fine-tunes the result and the BERT as it was on the same
# labelled examples, and prints the scores of both on dev.
#
#   scripts/adapt_to_domain.sh TEXT [DATA_FOLDER [MODEL_FOLDER [OUTPUT_FOLDER]]]
#
# TEXT: a document a line, or a sentence a line with an empty line between documents; a twentieth of the documents is
# held out. DATA_FOLDER: train.tsv and dev.tsv with columns text and label (quickstart/data). MODEL_FOLDER: the BERT
# (quickstart/model). OUTPUT_FOLDER: adapted, for one TEXT. After a stop, the same command goes on.
#
# SEEDS="1 2 3", EXAMPLES=1000 (labelled ones, drawn by seed), EPOCHS=3 (over these), TEXT_EPOCHS=2, LENGTH=64 (tokens),
# PRETRAINING= and FINE_TUNING= (further flags of run_pretraining.py and run_classifier.py).
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"
[ $# -ge 1 ] && [ $# -le 4 ] || { sed -n '2,14s/^# \{0,1\}//p' "$0" >&2; exit 2; }
[ -f "$1" ] || { echo "error: $1 is not a file. Name a text." >&2; exit 2; }
text=$(realpath "$1") data=$(realpath -m "${2:-$ROOT/quickstart/data}")
model=$(realpath -m "${3:-$ROOT/quickstart/model}")
output=$(realpath -m "${4:-$ROOT/adapted}")
for needed in "$data/train.tsv" "$data/dev.tsv"; do
  [ -f "$needed" ] || { echo "error: $needed is missing. scripts/quickstart.sh makes quickstart/data." >&2; exit 2; }
done
[ -f "$model/bert_config.json" ] || [ -f "$model/config.json" ] ||
  { echo "error: $model holds no BERT. scripts/quickstart.sh makes quickstart/model." >&2; exit 2; }
cd "$ROOT"
need_environment .venv requirements.txt 3.11 3.12 3.13 3.10
mkdir -p "$output"

"$PYTHON" scripts/hold_out.py "$text" "$output"

echo "Pre-training on $text"
"$PYTHON" run_pretraining.py --do_train --do_eval --text_files="$output/train.txt" --dev_file="$output/dev.txt" \
  --use_next_sentence_task=false --model="$model" --output_dir="$output/pretrained" --max_seq_length="${LENGTH:-64}" \
  --num_train_epochs="${TEXT_EPOCHS:-2}" --eval_batch_size=32 --checkpoint=last --keep_checkpoint_max=2 ${PRETRAINING:-}

for seed in ${SEEDS:-1 2 3}; do
  for kind in alone adapted; do
    from=$model
    [ "$kind" = alone ] || from=$output/pretrained
    echo "Fine-tuning, $kind, seed $seed"
    "$PYTHON" run_classifier.py --do_train --do_eval --task_name=text --data_dir="$data" --model="$from" \
      --checkpoint=last --output_dir="$output/$kind-$seed" --seed="$seed" --max_train_examples="${EXAMPLES:-1000}" \
      --num_train_epochs="${EPOCHS:-3}" --max_seq_length="${LENGTH:-64}" --eval_batch_size=32 --eval_every_epochs=0 \
      --keep_checkpoint_max=2 --cache_dir="$output/cache" ${FINE_TUNING:-}
  done
done

"$PYTHON" - "$output" ${SEEDS:-1 2 3} <<'EOF'
import json, statistics, sys

folder, seeds = sys.argv[1], sys.argv[2:]


def score(name, seed=None):
    with open("{}/{}/eval_results.json".format(folder, name if seed is None else "{}-{}".format(name, seed))) as file:
        return json.load(file)


print("masked words of held-out text after pre-training: accuracy {masked_lm_accuracy:.4f}, perplexity {perplexity:.1f}".format(
    **score("pretrained")))
for kind, title in (("alone", "fine-tuned alone"), ("adapted", "pre-trained on the text, then fine-tuned")):
    values = [score(kind, seed)["accuracy"] for seed in seeds]
    spread = " ± {:.4f}".format(statistics.stdev(values)) if len(values) > 1 else ""
    print("{}: accuracy {:.4f}{} ({})".format(title, statistics.mean(values), spread, ", ".join(map("{:.4f}".format, values))))
EOF
