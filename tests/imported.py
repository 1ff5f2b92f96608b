"""What the processes of forked.py have imported before they start."""

from steady_bert.base import tensorflow_setup

tensorflow_setup.import_tensorflow()

import conftest  # noqa: E402, F401

import run_classifier  # noqa: E402, F401
import run_ner  # noqa: E402, F401
from steady_bert.tasks.classification import job  # noqa: E402, F401
from steady_bert.tasks.tagging import job as tagging_job  # noqa: E402, F401
from steady_bert.training import estimator_engine, session_engine  # noqa: E402, F401
