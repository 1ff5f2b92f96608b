#!/usr/bin/env bash
# Same mathematics as PyTorch and transformers, with the folder's own configuration. First the last hidden state of 20
# sentences, here, there, and there again after the weights went through this project: 2e-5. Then 50 updates on the same
# batches of MRPC, dropout off, the same rule and schedule: losses within 1e-3. About 4 minutes on 2 cores.
#
#   benchmarks/torch_parity.sh GLUE_FOLDER HUGGING_FACE_FOLDER
#
# GLUE_FOLDER holds MRPC/train.tsv; HUGGING_FACE_FOLDER holds model.safetensors, config.json, vocab.txt.
set -euo pipefail
[ $# = 2 ] || { sed -n '2,9s/^# \{0,1\}//p' "$0" >&2; exit 2; }
data=$(cd "$1" && pwd)
weights=$(cd "$2" && pwd)
source "$(dirname "${BASH_SOURCE[0]}")/../scripts/environment.sh"
cd "$ROOT"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
need_environment .venv requirements.txt 3.11 3.12 3.13 3.10
"$PYTHON" scripts/convert_checkpoint.py --to=tf1 --source="$weights" --output="$work/model"
"$PYTHON" benchmarks/parity_tensorflow.py "$data/MRPC" "$work/model" "$work/batches.npz" "$work/tensorflow.json"
"$PYTHON" benchmarks/parity_vectors.py here "$weights" "$work/here.npz" "$work/exported"
need_environment .venv-torch benchmarks/requirements-torch.txt 3.11 3.12 3.10
"$PYTHON" benchmarks/parity_vectors.py there "$weights" "$work/there.npz"
"$PYTHON" benchmarks/parity_vectors.py compare 2e-5 "$work/here.npz" "$work/there.npz"
"$PYTHON" benchmarks/parity_vectors.py there "$work/exported" "$work/again.npz"
"$PYTHON" benchmarks/parity_vectors.py compare 1e-6 "$work/there.npz" "$work/again.npz"
"$PYTHON" benchmarks/parity_torch.py "$weights" "$work/batches.npz" "$work/torch.json"
"$PYTHON" benchmarks/compare_losses.py 1e-3 "$work/tensorflow.json" "$work/torch.json"
