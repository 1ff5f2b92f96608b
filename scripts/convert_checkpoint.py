"""Convert BERT weights: Hugging Face folder ↔ TensorFlow 1 checkpoint.

python scripts/convert_checkpoint.py --to=tf1 --source=FOLDER --output=FOLDER
    FOLDER is Hugging Face's; writes bert_model.ckpt.*, bert_config.json, vocab.txt and what else the model has.
    Training does this by itself: --model=FOLDER. --activation=tanh is for google-research/bert's own code, which does
    not know the exact gelu: the weights stay, bert_config.json says gelu, and what that changes is printed.

python scripts/convert_checkpoint.py --to=safetensors --source=CHECKPOINT_PREFIX_OR_RUN --output=FOLDER
    writes model.safetensors, config.json and vocab.txt; optimizer slots are left out. A run with --ema_decay gives its
    averages, which are also what evaluation reads.
"""

import argparse
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from steady_bert.base import program_end, tensorflow_setup

if __name__ == "__main__":
    tensorflow_setup.start_program()

from steady_bert.interchange import activations, hugging_face, to_safetensors


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--to", choices=("tf1", "safetensors"), required=True)
    parser.add_argument("--source", required=True)
    parser.add_argument("--output", required=True)
    parser.add_argument(
        "--activation", choices=("own", "tanh"), default="own", help="with --to=tf1: tanh writes the form named gelu"
    )
    parser.add_argument("--torch_python", help="with --to=tf1: a Python with torch, to read pytorch_model.bin")
    parser.add_argument("--bert_config_file", help="with --to=safetensors, if it is not beside the checkpoint")
    arguments = parser.parse_args()
    unread = ("bert_config_file",) if arguments.to == "tf1" else ("activation", "torch_python")
    for name in unread:
        if getattr(arguments, name) != parser.get_default(name):
            parser.error("--{} is not read with --to={}. Leave it out.".format(name, arguments.to))
    if arguments.to == "tf1":
        report = hugging_face.convert(arguments.source, arguments.output, arguments.torch_python)
    else:
        report = to_safetensors.convert(arguments.source, arguments.output, arguments.bert_config_file)
    print("{}: {}".format(arguments.output, report))
    if arguments.activation == "tanh":
        print("gelu_erf → gelu: {}".format(activations.use_tanh(arguments.output)))


if __name__ == "__main__":
    program_end.run("convert_checkpoint", main)
