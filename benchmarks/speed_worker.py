"""This project's side of training_speed.py, gpu_speed.py and question_speed.py: trains on the batches that it is told.

speed_worker.py BATCHES_NPZ BERT_CONFIG PADDING PRECISION [OPTION…]

Prints `ready`, and then for each line `ORDER FIRST COUNT` of its standard input a line `SECONDS PEAK_MEGABYTES`.
"""

import os
import sys
import time
from typing import Any, Tuple

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


import numpy as np
import speed_batches

import modeling
from optimization import OptimizerConfig
from steady_bert.tasks.classification import assembly as classification
from steady_bert.tasks.classification.own_text import TextProcessor
from steady_bert.tasks.pretraining import assembly as pretraining
from steady_bert.tasks.pretraining.training_config import PretrainingInput
from steady_bert.tasks.questions import answers
from steady_bert.tasks.questions import assembly as questions_assembly
from steady_bert.tasks.questions.features import Lengths
from steady_bert.tasks.task import Task
from steady_bert.training import devices, feature_cache, memory, session_engine
from steady_bert.training.plan import PlanConfig, make_plan
from steady_bert.training.session_engine import EngineConfig

_PREDICTIONS = 20  # places for masked words in an example


def prepared(
    rows: speed_batches.Rows,
    config_file: str,
    padding: str,
    precision: str,
    compute_form: str = "auto",
    recompute: bool = False,
    batch: int = speed_batches.BATCH,
    length: int = speed_batches.LENGTH,
    masked: bool = False,
    questions: bool = False,
) -> Tuple[Any, np.ndarray]:
    """(an engine that trains, the serialized record of each row)."""
    bert_config = modeling.BertConfig.from_json_file(config_file)
    task_of = _masked_words if masked else _answers if questions else _classes
    task = task_of(bert_config, length)
    settings = PlanConfig(train_batch_size=batch, num_train_steps=10000, learning_rate=5e-5, num_warmup_steps=100)
    plan = make_plan(settings, len(rows.ids), {}, {})
    engine_config = EngineConfig(
        padding=padding,
        precision=precision,
        compute_form=compute_form,
        recompute=recompute,
        max_seq_length=length,
    )
    engine = session_engine.build(task, engine_config, 1, plan, OptimizerConfig())

    def record(number: int) -> bytes:
        ids = [int(n) for n in rows.ids[number]]
        feature = {"input_ids": ids, "segment_ids": rows.segments[number].tolist()}
        if questions:
            start, end = ([int(place)] for place in rows.labels[number])
            feature.update(start_position=start, end_position=end, question=[0], window=[0])
            return feature_cache.serialize(feature, task.columns, len(ids))
        if not masked:
            feature["label_ids"] = [int(rows.labels[number])]
            return feature_cache.serialize(feature, task.columns, len(ids))
        places = speed_batches.masked_places(rows.ids[number], number).tolist()
        missing = [0] * (_PREDICTIONS - len(places))
        feature.update(masked_lm_positions=places + missing, masked_lm_ids=[ids[n] for n in places] + missing)
        feature.update(masked_lm_weights=[1.0] * len(places) + missing, next_sentence_labels=[0])
        for place in places:
            ids[place] = speed_batches.MASK_ID
        return feature_cache.serialize(feature, task.columns, len(ids))

    return engine, np.array([record(number) for number in range(len(rows.ids))], object)


def _classes(bert_config: modeling.BertConfig, length: int) -> Task:
    labels = ["0", "1"]
    return classification.classification_task(
        classification.TaskInputs(
            processor=TextProcessor(labels=labels),
            files={},
            labels=labels,
            tokenizer=None,
            vocab_fingerprint="",
            bert_config=bert_config,
            max_seq_length=length,
        )
    )


def _masked_words(bert_config: modeling.BertConfig, length: int) -> Task:
    data = PretrainingInput({}, "document", None, False, length, _PREDICTIONS, speed_batches.MASKED, 0.0, False)
    return pretraining.pretraining_task(pretraining.PretrainingInputs(data, {}, "", None, "", bert_config))


def _answers(bert_config: modeling.BertConfig, length: int) -> Task:
    inputs = questions_assembly.QuestionsInputs(
        files={},
        tokenizer=None,
        vocab_fingerprint="",
        do_lower_case=True,
        bert_config=bert_config,
        lengths=Lengths(length, 128, 64),
        rules=answers.Rules(),
        tune_threshold=False,
        score_by="words",
    )
    return questions_assembly.questions_task(inputs, questions_assembly.Reader(inputs))


def main() -> None:
    replies, sys.stdout = sys.stdout, sys.stderr  # what the engine prints must not mix with the replies
    parser = speed_batches.worker_arguments(__doc__)
    parser.add_argument("--compute_form", default="auto")
    parser.add_argument("--recompute", action="store_true")
    options = vars(parser.parse_args())
    rows, size = speed_batches.load(options.pop("batches_file")), options["batch"]
    engine, records = prepared(rows, **options)
    run_step = engine.session.make_callable(engine.kept.keep, feed_list=[engine.records])
    fetch = engine.session.make_callable(engine.kept.rows)

    def train(batches: np.ndarray) -> None:
        for done, numbers in enumerate(batches, 1):
            run_step(records[numbers])
            if done % engine.config.log_every_steps == 0 or done == len(batches):
                fetch()  # as a run does when it reports; what is fetched has been computed

    train(rows.of("random", 0, 2, size))
    print("ready", file=replies, flush=True)
    for line in sys.stdin:
        order, first, count = line.split()
        batches = rows.of(order, int(first), int(count), size)
        started = time.perf_counter()
        train(batches)
        seconds = time.perf_counter() - started
        peak = memory.peak_bytes(devices.used_gpus(engine.config)) or 0
        print(seconds, peak / 2**20, file=replies, flush=True)


if __name__ == "__main__":
    main()
