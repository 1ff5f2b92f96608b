"""A script that imports an entry script has flags of its own, which main() does not read."""

import os
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
# A script with flags and tasks of its own, as scripts built on google-research/bert are.
SCRIPT = """
import sys
sys.path.insert(0, {root!r})
from absl import flags
import run_classifier
import run_ner

for name in ("seed", "num_train_steps", "lookahead_steps"):
    flags.DEFINE_integer(name, None, "of the script")
for name in ("optimizer", "precision", "labels", "model_dir", "freeze", "head", "format", "engine"):
    flags.DEFINE_string(name, "the script's", "of the script")
FLAGS = flags.FLAGS
FLAGS(["script.py", "--task_name=mytask", "--seed=7", "--optimizer=theirs", "--max_seq_length=64"])
assert (FLAGS.task_name, FLAGS.seed, FLAGS.max_seq_length) == ("mytask", 7, 64)
FLAGS.task_name = "another"

from steady_bert.base.errors import UserError
from steady_bert.tasks.classification import job
commands = []
job.start = lambda config, given, notes: commands.append((config, given, notes))
FLAGS.do_train, FLAGS.data_dir, FLAGS.output_dir = True, "d", "o"
FLAGS.vocab_file, FLAGS.bert_config_file, FLAGS.init_checkpoint = "v", "b", "c"
try:
    run_classifier.main()
except UserError as error:
    assert "--task_name=another: not one of" in str(error)
else:
    assert False, "a task that nobody knows"
FLAGS.task_name = "MRPC"  # the original lower-cases it
FLAGS.num_train_epochs = 2.0
run_classifier.main(["script.py"])  # as tf.app.run calls it
(config, given, notes), = commands
assert config.data.task_name == "mrpc" and config.data.labels == ()
assert config.run.plan.seed == 12345 and config.run.plan.num_train_steps is None
assert config.run.plan.num_train_epochs == 2.0 and config.model.max_seq_length == 64
assert config.run.optimizer.optimizer == "adamw" and config.run.engine.precision == "float32"
assert config.run.weights.model_dir is None and config.run.weights.init_checkpoint == "c"
assert "--num_train_epochs=2.0" in given and "--task_name=MRPC" in given, given
assert not any(line.startswith(("--seed", "--optimizer")) for line in given)
print("done")
"""


def test_a_script_has_flags_and_tasks_of_its_own_and_main_takes_defaults():
    process = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(root=ROOT)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        universal_newlines=True,
    )
    assert process.stdout.strip().endswith("done"), process.stderr[-3000:]
