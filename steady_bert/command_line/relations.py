"""What must hold between flags, checked before anything is read or written.

Each check raises UserError for the first relation that does not hold. f: flags.Values.
"""

import dataclasses
import difflib
import os
from typing import Any, Dict, Optional, Sequence, Tuple

from ..tasks.classification.config import ClassifierDataConfig
from ..tasks.classification.processor import is_number
from ..tasks.classification.registry import PROCESSORS
from ..tasks.pretraining.instances import SHORTEST
from ..tasks.questions.config import QuestionsDataConfig
from ..tasks.reading import encodings
from ..training import cluster, manifest
from . import model_flag
from .list_flags import Values, items, require, require_finite

_OF_CLASSES = ("label_smoothing", "focal_gamma")
TPU_FLAGS = ("tpu_name", "tpu_zone", "gcp_project", "master", "num_tpu_cores", "iterations_per_loop")


def check_common(f: Values) -> None:
    """The relations that hold whatever is learned."""
    require_finite(f)
    encodings.require_known(f.encoding)
    check_phases(f)
    check_engine(f)
    check_buckets(f)
    check_update(f)
    require(
        not (f.vocab_file and f.spm_model_file), "--vocab_file and --spm_model_file were both given. Give the model's."
    )


def check_phases(f: Values) -> None:
    """What the command does."""
    require(
        f.do_train or f.do_eval or f.do_predict or f.dry_run or f.check_data,
        "Nothing to do: pass at least one of --do_train, --do_eval, --do_predict, --dry_run, --check_data.",
    )
    require(not (f.dry_run and f.check_data), "--dry_run and --check_data were both given. Give one.")
    require(
        f.predict_file != "-" or f.do_predict and not f.do_train,
        "--predict_file=-: standard input is predicted by a command of its own: --do_predict and --model_dir.",
    )


def check_update(f: Values) -> None:
    """The numbers of the update and of the learning rate."""
    for name in ("adam_beta1", "adam_beta2", "momentum"):
        require(getattr(f, name) != 1, "--{}=1: an average that takes in nothing new. Give less.".format(name))
    require(
        f.lr_schedule != "piecewise" or not f.given("learning_rate"),
        "--lr_schedule=piecewise takes its rates from --lr_values: leave --learning_rate out.",
    )
    require(f.learning_rate != 0, "--learning_rate=0: nothing would be learned. Give a positive rate.")
    require(
        not f.given("lookahead_alpha") or f.lookahead_steps or f.optimizer == "ranger",
        "--lookahead_alpha is read with --lookahead_steps, or ranger. Leave it out.",
    )
    for name in ("lookahead_alpha", "layerwise_lr_decay", "plateau_factor", "adam_epsilon"):
        require(getattr(f, name) != 0, "--{}=0: it would stop training, or divide by 0. Give more.".format(name))
    require(f.plateau_factor != 1, "--plateau_factor=1: the rate would never be reduced. Give less.")
    require(
        not (f.do_train or f.dry_run) or f.train_batch_size % f.gradient_accumulation_steps == 0,
        "--train_batch_size={} does not divide by {} parts (--gradient_accumulation_steps). Give a multiple.".format(
            f.train_batch_size, f.gradient_accumulation_steps
        ),
    )
    require(f.ema_decay < 1.0, "--ema_decay=1: the average would never move. Give for example 0.99.")


def check_engine(f: Values) -> None:
    """Which engine runs on which devices."""
    on_estimator, given_as = engine(f) == "estimator", _engine_flag(f)
    require(
        not f.use_tpu or on_estimator,
        "--use_tpu: --engine=session does not run on a TPU. Leave --engine out, or give --engine=estimator.",
    )
    require(
        not f.use_tpu or f.distribution == "one_device",
        "--use_tpu: a TPU's cores are its replicas. Leave --distribution out.",
    )
    require(
        not f.use_tpu or bool(f.tpu_name) != bool(f.master),
        "--use_tpu: give --tpu_name (local on a TPU VM) or --master, not both.",
    )
    require(
        not on_estimator or f.distribution != "multi_worker",
        "--distribution=multi_worker: Estimator runs in one process here. Leave {} out.".format(given_as),
    )
    require(
        not on_estimator or not f.devices or f.distribution == "mirrored",
        "--devices is read with --distribution=mirrored here. Leave it out, or {}.".format(given_as),
    )
    require(not (on_estimator and f.xla), "--xla is the session engine's. Leave it or {} out.".format(given_as))
    require(
        not (on_estimator and f.precision == "float16"),
        "--precision=float16: its loss scale is the session engine's. Give bfloat16, or leave {} out.".format(given_as),
    )
    require(
        not (on_estimator and f.profile_steps),
        "--profile_steps traces the session engine. Leave it or {} out.".format(given_as),
    )
    require(
        not f.use_tpu or f.optimizer != "lazyadam",
        "--optimizer=lazyadam: gradients are dense on a TPU, so that no row rests. Use adam.",
    )
    require(
        f.batching != "grouped" or f.shuffle,
        "--batching=grouped: it groups a permutation of the training set. Leave it or --shuffle=false out.",
    )
    require(
        f.batching != "grouped" or not f.use_tpu,
        "--batching=grouped: a TPU reads the record file from front to back, so that lengths cannot be grouped. Leave "
        "it or --use_tpu out.",
    )
    check_workers(f)
    for fixed, why in (
        (f.xla, "--xla: every other shape would be compiled anew"),
        (on_estimator, given_as + ": Estimator's shapes are static here, as a TPU wants them"),
    ):
        require(
            not fixed or not f.given("padding") or f.padding == "fixed",
            why + ". Give --padding=fixed, or leave --padding out.",
        )


def check_workers(f: Values) -> None:
    """What several workers can do."""
    several = f.distribution == "multi_worker"
    tasks = cluster.tasks_in(os.environ)
    require(
        several or tasks < 2 or not f.do_train or engine(f) == "estimator",
        "TF_CONFIG names {} tasks, but each would train alone and write to the same folder. Pass "
        "--distribution=multi_worker, or unset TF_CONFIG to train with one process.".format(tasks),
    )
    require(
        not several or f.do_train or f.dry_run,
        "--distribution=multi_worker: several workers train. Evaluate and predict with one process, without the flag.",
    )
    require(
        not several or not f.xla,
        "--xla: TensorFlow's clustering fails in a worker, which has the CPU twice. Leave it or "
        "--distribution=multi_worker out.",
    )
    require(
        several or not f.cluster_bind,
        "--cluster_bind says where several workers meet. Add --distribution=multi_worker, or leave it out.",
    )
    require(
        not several or not f.devices,
        "--devices: each of several workers uses its own GPUs (CUDA_VISIBLE_DEVICES says which). Leave it out.",
    )


def check_buckets(f: Values) -> None:
    """Only the record cache may be in a bucket."""
    require(
        not is_bucket(f.cache_dir) or engine(f) == "estimator",
        "--cache_dir={}: buckets are for --engine=estimator. Name a local folder.".format(f.cache_dir),
    )
    for name in ("output_dir", "model_dir", "data_dir", "init_checkpoint", "model"):
        require(
            not is_bucket(getattr(f, name, None)),
            "--{}: name a local path. What a TPU's machine reads and writes goes through --cache_dir, which may be a "
            "bucket's.".format(name),
        )


def check_training(f: Values, needed: Sequence[str]) -> None:
    """What a command that trains, or plans to, needs. needed: the task's own flags."""
    for name in tuple(needed) + ("bert_config_file", "output_dir"):
        instead = " It comes with the others of a model by --model=FOLDER." if name == "bert_config_file" else ""
        require(getattr(f, name) is not None, "--{} is needed to train.{}".format(name, instead))
    require(f.model_dir is None, "--model_dir is for evaluation and prediction; a run that trains uses --output_dir.")
    require(
        not (f.from_scratch and f.init_checkpoint), "--from_scratch and --init_checkpoint were both given. Give one."
    )
    require(
        f.resume_mode != "weights" or f.init_checkpoint,
        "--resume_mode=weights needs --init_checkpoint: the run, or checkpoint, whose weights it starts from.",
    )


def changed_files(f: Values) -> Tuple[str, ...]:
    """The names in --allow_changed_files."""
    known = (*manifest.VERIFIED, manifest.FILE, manifest.BEST)
    for name in items(f, "allow_changed_files"):
        require(name in known, "--allow_changed_files={}: is not one of {}.".format(name, ", ".join(known)))
    return items(f, "allow_changed_files")


def check_using(f: Values) -> None:
    """What a command needs that uses a trained model."""
    require(f.model_dir or f.output_dir, "Pass --model (or --model_dir, --output_dir): the folder of a trained model.")


def check_classifier_files(f: Values) -> None:
    """The data that a command which does not train needs."""
    if f.check_data:
        require(f.data_dir or f.predict_file, "--data_dir (or --predict_file) is needed to check data.")
        return
    require(not f.given("class_weights"), "--class_weights weighs what is learned: give it with --do_train.")
    check_using(f)
    require(not f.do_eval or f.data_dir is not None, "--data_dir is needed to evaluate.")
    require(not f.do_predict or f.data_dir or f.predict_file, "--predict_file (or --data_dir) is needed to predict.")


def check_task_name(task_name: Optional[str]) -> None:
    if task_name is None or task_name in PROCESSORS:
        return
    near = difflib.get_close_matches(task_name, PROCESSORS, 1)
    hint = "Did you mean {}?".format(near[0]) if near else "Files of your own: text."
    require(False, "--task_name={}: not one of {}. {}".format(task_name, ", ".join(sorted(PROCESSORS)), hint))


def check_task(f: Values, data: ClassifierDataConfig) -> None:
    """The flags that say what the data is."""
    folder = f.model_dir or f.output_dir
    require(data.task_name is not None, "--task_name is needed: {} has no config.json that says it.".format(folder))
    check_task_name(data.task_name)
    for task, processor in PROCESSORS.items():
        for name in processor.options:
            require(
                task == data.task_name or not f.given(name),
                "--{} is read with --task_name={}, not with {}. Leave it out.".format(name, task, data.task_name),
            )
    require(
        "train" in PROCESSORS[data.task_name or ""].splits or not (f.do_train or f.dry_run),
        "--task_name={} has no training data: train mnli, then predict with --model_dir.".format(data.task_name),
    )
    require(
        len(data.text_columns) <= 2 and len(set(data.text_columns)) == len(data.text_columns),
        "--text_columns={}: name one column, or two different ones.".format(",".join(data.text_columns)),
    )
    require(
        len(set(data.labels)) == len(data.labels) != 1,
        "--labels={}: name two or more different classes.".format(",".join(data.labels)),
    )
    label_type = PROCESSORS[data.task_name or ""].from_options(dataclasses.asdict(data)).label_type
    require(
        not data.label_separator or label_type == "multi",
        "--label_separator is read with --label_type=multi. Give both, or leave it out.",
    )
    values = dict(labels=data.labels, class_weights=data.class_weights)
    values.update((name, getattr(f, name)) for name in (*_OF_CLASSES, "rdrop_alpha"))
    for name, value in values.items():
        require(
            not value or label_type != "regression",
            "--{}: a number is learned, which has no classes. Leave it out.".format(name),
        )


def check_long_texts(f: Values, data: ClassifierDataConfig, max_seq_length: int) -> None:
    """The flags that say what is read of long texts."""
    for name in ("window_stride", "window_pooling"):
        require(
            data.long_text == "windows" or not f.given(name),
            "--{}: is read with --long_text=windows. Leave it out, or give that.".format(name),
        )
    require(
        data.window_stride is None or data.window_stride <= max_seq_length - 2,
        "--window_stride={}: tokens would be left out between windows of {} (--max_seq_length less 2). Give at most "
        "that.".format(data.window_stride, max_seq_length - 2),
    )
    require(
        data.long_text == "cut" or max_seq_length >= 5,
        "--max_seq_length={}: --long_text={} needs room for a token of each text of a pair. Give 5 or more.".format(
            max_seq_length, data.long_text
        ),
    )


def check_threshold(f: Values, data: ClassifierDataConfig) -> None:
    """What --multi_label_threshold says."""
    threshold = data.multi_label_threshold
    require(
        data.label_type == "multi" or not f.given("multi_label_threshold"),
        "--multi_label_threshold: is read with --label_type=multi. Leave it out, or give that.",
    )
    require(
        threshold in ("tune", "" if f.given("multi_label_threshold") else "saved")
        or is_number(threshold)
        and 0 < float(threshold) < 1,
        "--multi_label_threshold={}: not a probability between 0 and 1, nor tune. Give one.".format(threshold),
    )
    require(
        threshold != "tune" or f.do_eval or f.check_data,
        "--multi_label_threshold=tune: the threshold is tuned on dev. Give --do_eval too.",
    )


def check_pretraining(f: Values, saved: Dict[str, Any], trains: bool) -> None:
    """The flags that say what is pre-trained on. saved: what the model's folder says. trains: or plans to."""
    require(not (f.input_file and f.text_files), "--input_file and --text_files were both given. Give one.")
    if trains:
        require(f.input_file or f.text_files, "--input_file (records) or --text_files (text) is needed to train.")
        require(
            not (f.do_eval and f.text_files) or f.dev_file,
            "--dev_file is needed to evaluate: text that is not trained on.",
        )
    elif f.check_data:
        require(f.input_file or f.text_files or f.dev_file, "--input_file, --text_files or --dev_file is needed.")
    else:
        require(f.input_file or f.dev_file, "--dev_file (or --input_file) is needed to evaluate.")
        require(not f.text_files, "--text_files is what is trained on. Name the text to evaluate with --dev_file.")
    if f.input_file and trains:
        for name in ("masked_lm_prob", "do_whole_word_mask", "segmentation_suffix", "short_seq_prob", "text_form"):
            require(
                not f.given(name),
                "--{}: is read with --text_files; records have their masks already. Leave it out.".format(name),
            )
    pairs = saved.get("use_next_sentence_task", f.use_next_sentence_task)
    length = saved.get("max_seq_length", f.max_seq_length)
    require(
        not pairs or length >= SHORTEST,
        "--max_seq_length={}: two segments need {} tokens. Raise it.".format(length, SHORTEST),
    )
    require(
        pairs or not f.given("short_seq_prob"),
        "--short_seq_prob is read with --use_next_sentence_task. Leave it out.",
    )
    whole_words = saved.get("do_whole_word_mask", f.do_whole_word_mask)
    require(
        whole_words or not f.given("segmentation_suffix"),
        "--segmentation_suffix is read with --do_whole_word_mask. Give both.",
    )
    require(
        not (f.given("max_eval_steps") and f.given("max_eval_examples")),
        "--max_eval_steps and --max_eval_examples were both given. Give one.",
    )


_NO_COLUMN = "--{}={}: neither a number from 0 nor a name. Give one."


def check_tagging(f: Values, head: str) -> None:
    """The flags that say what is tagged, and with what. head: --head, or that of the trained model."""
    if f.check_data:
        files = (f.train_file, f.dev_file, f.test_file, f.predict_file)
        require(any(files), "--train_file, --dev_file, --test_file or --predict_file is needed to check data.")
    require(f.check_data or not f.do_eval or f.dev_file is not None, "--dev_file is needed to evaluate.")
    require(not f.do_predict or f.test_file or f.predict_file, "--predict_file (or --test_file) is needed to predict.")
    require(
        f.tag_column != (f.word_column or "0"),
        "--tag_column={0}: column {0} is the word's. Give another, or --word_column.".format(f.tag_column),
    )
    for name, value in (("tag_column", f.tag_column), ("word_column", f.word_column)):
        require(value is None or value.strip("-0123456789") or value.isdecimal(), _NO_COLUMN.format(name, value))
    require(
        not f.mend_tags or f.overlaps == "error",
        "--mend_tags and --overlaps={} were both given: --mend_tags keeps the longer of two. Give one.".format(
            f.overlaps
        ),
    )
    require(
        f.format != "text" or not (f.do_train or f.do_eval),
        "--format=text has no tags. Give the format of files that have.",
    )
    require(
        not f.given("class_weights") or f.do_train or f.dry_run,
        "--class_weights weighs what is learned: give it with --do_train.",
    )
    for name in ("class_weights", *_OF_CLASSES, "rdrop_alpha"):
        require(
            not getattr(f, name) or "crf" not in head,
            "--{}: a CRF learns the probability of a sentence's tags as a whole, in which no word has a loss or "
            "probabilities of its own. Leave it out, or give --head=softmax or bilstm.".format(name),
        )
    for name in ("lstm_size", "lstm_layers", "lstm_cell"):
        require(
            not f.given(name) or "lstm" in head,
            "--{} is read with --head=bilstm or bilstm_crf. Leave it out.".format(name),
        )


def check_questions(f: Values, data: QuestionsDataConfig, max_seq_length: int) -> None:
    """The flags that say which questions are asked, and how they are answered."""
    if f.check_data:
        files = (f.train_file, f.dev_file, f.predict_file)
        require(any(files), "--train_file, --dev_file or --predict_file is needed to check data.")
    require(f.check_data or not f.do_eval or f.dev_file is not None, "--dev_file is needed to evaluate.")
    require(not f.do_predict or f.predict_file, "--predict_file is needed to predict.")
    require(
        max_seq_length > data.max_query_length + 3,
        "--max_seq_length={}: a question of --max_query_length={} and 3 special tokens leave no room for its context. "
        "Raise it, or lower --max_query_length.".format(max_seq_length, data.max_query_length),
    )
    for name in ("null_score_diff_threshold", "tune_null_threshold"):
        require(
            data.version_2_with_negative or not f.given(name) or not getattr(f, name),
            "--{}: is read with --version_2_with_negative. Leave it out, or give that.".format(name),
        )
    require(
        not (f.tune_null_threshold and f.given("null_score_diff_threshold")),
        "--tune_null_threshold and --null_score_diff_threshold were both given. Give one.",
    )
    require(
        not f.tune_null_threshold or f.do_eval or f.check_data,
        "--tune_null_threshold: the threshold is tuned on dev. Give --do_eval too.",
    )


def engine(f: Values) -> str:
    """--use_tpu selects Estimator."""
    return "estimator" if f.use_tpu and not f.given("engine") else str(f.engine)


def _engine_flag(f: Values) -> str:
    """The flag that selects Estimator, as the user gave it."""
    return "--use_tpu" if f.use_tpu else "--engine=estimator"


def is_bucket(path: Optional[str]) -> bool:
    return path is not None and "://" in path


def notes(f: Values) -> Dict[str, str]:
    """Lines of the plan on --model, and on flags that were given and are not read."""
    unread = [] if f.use_tpu else [name for name in TPU_FLAGS if f.given(name)]
    note = {"not read": "--{}: without --use_tpu".format(", --".join(unread))} if unread else {}
    return dict(note, **model_flag.note(f))
