"""Export a trained run, and prove that the export gives the run's numbers.

python scripts/export_model.py --model_dir=RUN --to=saved_model --output=FOLDER
    a SavedModel, which TensorFlow loads without this project
python scripts/export_model.py --model_dir=RUN --to=huggingface --output=FOLDER --check_python=INTERPRETER
    a folder for transformers; INTERPRETER is a Python that has torch and transformers
python scripts/export_model.py --model_dir=RUN --to=tf1 --output=FOLDER
    bert_model.ckpt, bert_config.json and vocab.txt, as google-research/bert reads them

A file, the run's dev file by default, goes through the run and, in a process of its own, through the export. What is
found is in FOLDER/export_check.json. docs/export.md says more.
"""

import argparse
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from steady_bert.base import program_end, tensorflow_setup

if __name__ == "__main__":
    tensorflow_setup.start_program()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model_dir", required=True, help="the folder of a trained run")
    parser.add_argument("--to", choices=("huggingface", "saved_model", "tf1"), required=True)
    parser.add_argument("--output", required=True, help="a new folder; an earlier export there is replaced")
    parser.add_argument(
        "--checkpoint", choices=("best", "last"), help="default: the best if there is one, else the last"
    )
    parser.add_argument(
        "--check_file", help="what to compare on, read as --predict_file is. Default: the run's dev file"
    )
    parser.add_argument("--check_python", help="with --to=huggingface: an interpreter that has torch and transformers")
    parser.add_argument("--unchecked", action="store_true", help="compare nothing; the export says so")
    parser.add_argument("--activation", choices=("tanh",), help="with --to=tf1: write gelu_erf as gelu")
    arguments = parser.parse_args()
    tensorflow_setup.import_tensorflow()
    from steady_bert.export import command

    command.export(command.Options(**vars(arguments)))


if __name__ == "__main__":
    program_end.run("export_model", main)
