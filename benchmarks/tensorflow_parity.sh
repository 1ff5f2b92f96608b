#!/usr/bin/env bash
# The first 20 losses on MRPC with dropout off, on TensorFlow 2.21, 2.15 and 1.15.5: prints the largest relative
# differences. Target 1e-4. About 3 minutes on 2 cores, and the environments once.
#
#   benchmarks/tensorflow_parity.sh GLUE_FOLDER MODEL_FOLDER
#
# MODEL_FOLDER holds bert_model.ckpt.*, bert_config.json, vocab.txt.
set -euo pipefail
[ $# = 2 ] || { sed -n '2,7s/^# \{0,1\}//p' "$0" >&2; exit 2; }
data=$(cd "$1" && pwd) model=$(cd "$2" && pwd)
source "$(dirname "${BASH_SOURCE[0]}")/../scripts/environment.sh"
cd "$ROOT"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
need_environment .venv requirements.txt 3.11 3.12 3.13 3.10
"$PYTHON" benchmarks/parity_tensorflow.py "$data/MRPC" "$model" "$work/batches.npz" "$work/2.21.json" 20
need_environment .venv-tf2.15 requirements-tf2.15.txt 3.10 3.11 3.9
"$PYTHON" benchmarks/parity_tensorflow.py "$data/MRPC" "$model" "$work/batches.npz" "$work/2.15.json" 20
need_environment .venv-tf1.15 requirements-tf1.15.txt 3.7
"$PYTHON" benchmarks/parity_tensorflow.py "$data/MRPC" "$model" "$work/batches.npz" "$work/1.15.json" 20
"$PYTHON" benchmarks/compare_losses.py 1e-4 "$work/2.21.json" "$work/2.15.json" "$work/1.15.json"
