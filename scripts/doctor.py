"""What is in the folder of a training, and how to go on with it: doctor.py FOLDER [--flag=value …]

The folder is one of this program, of google-research/bert, or of a program made from it. Nothing is trained or written.
Says which checkpoint can be used, at which step and rate it stands, whether the order of the labels is known, whether
numbers, vocabulary and case are right, and prints the commands that continue, start a further stage, or predict.

Flags of the scripts that you know, such as --vocab_file, --bert_config_file, --do_lower_case, --data_dir or --labels,
are checked where they can be, and stand in the printed commands.
"""

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from steady_bert.base import program_end, tensorflow_setup

if __name__ == "__main__":
    tensorflow_setup.start_program()

from steady_bert.diagnosis import command

if __name__ == "__main__":
    program_end.run("doctor", lambda: command.main(__doc__))
