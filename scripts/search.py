"""Tries settings of a command, each as an ordinary run, and shows which are best.

    python scripts/search.py FOLDER [--vary FLAG=VALUES …] [--method=grid|random|tpe --trials=N] [--seeds=1,2,3]
        [--k_folds=K --fold_by=label|COLUMN] [--prune] [--at_once=N --cores_each=M] -- run_classifier.py --flag=value …

After -- stands a command without --output_dir, of run_classifier.py, run_ner.py, run_squad.py or run_pretraining.py.
--vary is given once for each flag; without it, the grid is that of BERT's authors (batch 16 and 32; rate 5e-5, 3e-5 and
2e-5; 2, 3 and 4 epochs):

    --vary learning_rate=2e-5,5e-5     these values (with ; between them if they have commas)
    --vary learning_rate=log(1e-5,1e-3)   any number, evenly by logarithm; uniform(0,0.2): evenly; int(1,6): whole ones

A trial is a setting; it is trained with each seed on each fold, in a folder of FOLDER/trials. A command that is stopped
or killed goes on when it is given again. What is found depends on neither kills nor speed nor --at_once (but for tpe,
where the setting of a trial follows from all but the --at_once - 1 trials before it): docs/search.md.
"""

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from steady_bert.base import program_end, tensorflow_setup

if __name__ == "__main__":
    tensorflow_setup.start_program()

import flags
from steady_bert.command_line import configuration
from steady_bert.search import command

CONFIGURATIONS = {
    "run_classifier": configuration.classifier_config,
    "run_ner": configuration.tagging_config,
    "run_pretraining": configuration.pretraining_config,
    "run_squad": configuration.questions_config,
}
SCRIPTS = command.Scripts(
    lambda script, arguments: flags.within(script, arguments, lambda values: values.given_flags()),
    lambda script, arguments: flags.within(script, arguments, CONFIGURATIONS[script]),
)

if __name__ == "__main__":
    program_end.run("search", lambda: command.main(__doc__ or "", SCRIPTS))
