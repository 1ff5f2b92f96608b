# shellcheck shell=bash
# Sourced by the scripts that train on Chinese text. `pretrained FOLDER` sets `model` and `begin`, the flags of a BERT;
# `chinese_weights` those of CHINESE_BERT_DIR, else of a small BERT from scratch with CHINESE_VOCAB, and `schedule`.
chinese=${CHINESE_BERT_DIR:+$(cd "$CHINESE_BERT_DIR" && pwd)}
vocabulary=${CHINESE_VOCAB:+$(cd "$(dirname "$CHINESE_VOCAB")" && pwd)/$(basename "$CHINESE_VOCAB")}

pretrained() {
  model=(--bert_config_file="$1/bert_config.json" --vocab_file="$1/vocab.txt")
  begin=(--init_checkpoint="$1/bert_model.ckpt")
}

# Sets model and schedule for Chinese text: random weights need a higher rate and more epochs.
chinese_weights() {
  if [ -n "$chinese" ]; then
    pretrained "$chinese"
    schedule=(--num_train_epochs=3)
    return
  fi
  [ -n "$vocabulary" ] || { echo "error: set CHINESE_VOCAB, or CHINESE_BERT_DIR." >&2; exit 2; }
  cat >"$runs/small_chinese_bert.json" <<JSON
{"vocab_size": $(grep -c . "$vocabulary"), "hidden_size": 256, "num_hidden_layers": 3, "num_attention_heads": 4,
 "intermediate_size": 1024, "max_position_embeddings": 512, "type_vocab_size": 2}
JSON
  model=(--bert_config_file="$runs/small_chinese_bert.json" --vocab_file="$vocabulary")
  begin=(--from_scratch)
  schedule=(--num_train_epochs=8 --learning_rate=5e-4)
}
