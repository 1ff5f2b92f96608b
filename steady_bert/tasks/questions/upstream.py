"""What scripts written for google-research/bert import from run_squad."""

import collections
import json
import sys
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

import numpy as np

import tokenization

from ...base import files
from ...base.deferred_tensorflow import tf
from ...base.errors import UserError
from . import answers, features, squad_files
from .answers import Rules, Text, WindowLogits
from .contexts import blank_separated
from .features import Lengths
from .windows import Span, best_windows

FIRST_UNIQUE_ID = 1000000000
_SHUFFLE_BUFFER = 10000  # records: the original's 100 leaves a file that is sorted nearly as it is


class SquadExample:
    """A question. doc_tokens: the words of its context; positions: of the answer among them, -1 if it has none."""

    def __init__(
        self,
        qas_id: str,
        question_text: str,
        doc_tokens: List[str],
        orig_answer_text: Optional[str] = None,
        start_position: Optional[int] = None,
        end_position: Optional[int] = None,
        is_impossible: bool = False,
    ) -> None:
        self.qas_id = qas_id
        self.question_text = question_text
        self.doc_tokens = doc_tokens
        self.orig_answer_text = orig_answer_text
        self.start_position = start_position
        self.end_position = end_position
        self.is_impossible = is_impossible

    def __str__(self) -> str:
        return repr(self)

    def __repr__(self) -> str:
        shown = "qas_id: {}, question_text: {}, doc_tokens: [{}]".format(
            self.qas_id, self.question_text, " ".join(self.doc_tokens)
        )
        for name in ("start_position", "end_position", "is_impossible"):
            if getattr(self, name):
                shown += ", {}: {}".format(name, getattr(self, name))
        return shown


class InputFeatures:
    """A window, padded. tokens: not padded; the two maps: token → its word, and whether an answer may begin there."""

    def __init__(
        self,
        unique_id: int,
        example_index: int,
        doc_span_index: int,
        tokens: List[str],
        token_to_orig_map: Dict[int, int],
        token_is_max_context: Dict[int, bool],
        input_ids: List[int],
        input_mask: List[int],
        segment_ids: List[int],
        start_position: Optional[int] = None,
        end_position: Optional[int] = None,
        is_impossible: Optional[bool] = None,
    ) -> None:
        self.unique_id = unique_id
        self.example_index = example_index
        self.doc_span_index = doc_span_index
        self.tokens = tokens
        self.token_to_orig_map = token_to_orig_map
        self.token_is_max_context = token_is_max_context
        self.input_ids = input_ids
        self.input_mask = input_mask
        self.segment_ids = segment_ids
        self.start_position = start_position
        self.end_position = end_position
        self.is_impossible = is_impossible


RawResult = collections.namedtuple("RawResult", ["unique_id", "start_logits", "end_logits"])


def convert_examples_to_features(
    examples: Sequence[Any],
    tokenizer: Any,
    max_seq_length: int,
    doc_stride: int,
    max_query_length: int,
    is_training: bool,
    output_fn: Callable[[InputFeatures], Any],
) -> None:
    """Calls output_fn with the feature of each window of each example, in order."""
    lengths = Lengths(max_seq_length, doc_stride, max_query_length)
    unique_id = FIRST_UNIQUE_ID
    for number, example in enumerate(examples):
        context = features.pieces_of(example.doc_tokens, tokenizer)
        answer = None
        if is_training and not example.is_impossible:
            words = example.start_position, example.end_position
            answer = features.answer_pieces(context, *words, example.orig_answer_text, tokenizer)
        question = tokenizer.tokenize(example.question_text)
        windows = features.windows_of(question, context, lengths) if context.pieces else []
        for window_number, window in enumerate(windows):
            padding = [0] * (max_seq_length - len(window.tokens))
            inside = range(window.offset, len(window.tokens) - 1)
            start, end = features.positions_in(window, answer) if is_training else (None, None)
            output_fn(
                InputFeatures(
                    unique_id=unique_id,
                    example_index=number,
                    doc_span_index=window_number,
                    tokens=window.tokens,
                    token_to_orig_map={token: int(window.words[token]) for token in inside},
                    token_is_max_context={token: bool(window.is_best[token]) for token in inside},
                    input_ids=tokenizer.convert_tokens_to_ids(window.tokens) + padding,
                    input_mask=[1] * len(window.tokens) + padding,
                    segment_ids=window.segment_ids + padding,
                    start_position=start,
                    end_position=end,
                    is_impossible=example.is_impossible,
                )
            )
            unique_id += 1


def _check_is_max_context(doc_spans: Sequence[Any], cur_span_index: int, position: int) -> bool:
    """Whether an answer that begins at a piece of the context is looked for in this window."""
    span = doc_spans[cur_span_index]
    best = best_windows([Span(each.start, each.length) for each in doc_spans])[cur_span_index]
    return bool(0 <= position - span.start < span.length and best[position - span.start])


def _improve_answer_span(
    doc_tokens: List[str], input_start: int, input_end: int, tokenizer: Any, orig_answer_text: str
) -> Tuple[int, int]:
    """(first, last) piece of the answer within those from input_start to input_end; these two if they lack it."""
    return features.within(doc_tokens, input_start, input_end, tokenizer.tokenize(orig_answer_text))


def _get_best_indexes(logits: Sequence[float], n_best_size: int) -> List[int]:
    """The places of the largest logits, of equal ones the first first."""
    return answers.best_indexes(np.asarray(logits, np.float64), n_best_size).tolist()


def _compute_softmax(scores: Sequence[float]) -> List[float]:
    return answers.probabilities(scores)


class FeatureWriter:
    """Writes features to a TFRecord file; num_features: how many so far."""

    def __init__(self, filename: str, is_training: bool) -> None:
        self.filename = filename
        self.is_training = is_training
        self.num_features = 0
        self._writer = tf.python_io.TFRecordWriter(filename)

    def process_feature(self, feature: InputFeatures) -> None:
        self.num_features += 1
        columns: Dict[str, Any] = {
            "unique_ids": [feature.unique_id],
            "input_ids": feature.input_ids,
            "input_mask": feature.input_mask,
            "segment_ids": feature.segment_ids,
        }
        if self.is_training:
            columns["start_positions"] = [feature.start_position]
            columns["end_positions"] = [feature.end_position]
            columns["is_impossible"] = [int(bool(feature.is_impossible))]
        example = tf.train.Example()
        for name, values in columns.items():
            example.features.feature[name].int64_list.value.extend(values)
        self._writer.write(example.SerializeToString(deterministic=True))

    def close(self) -> None:
        self._writer.close()


def input_fn_builder(input_file: str, seq_length: int, is_training: bool, drop_remainder: bool) -> Callable:
    """An input_fn over a file of FeatureWriter's; training shuffles and repeats. params: batch_size."""
    specs = {name: tf.FixedLenFeature([seq_length], tf.int64) for name in ("input_ids", "input_mask", "segment_ids")}
    for name in ("unique_ids", *(("start_positions", "end_positions") if is_training else ())):
        specs[name] = tf.FixedLenFeature([], tf.int64)

    def parse(record: Any) -> Dict[str, Any]:
        return {name: tf.cast(value, tf.int32) for name, value in tf.parse_single_example(record, specs).items()}

    def input_fn(params: Dict[str, Any]) -> Any:
        data = tf.data.TFRecordDataset(input_file)
        if is_training:
            data = data.shuffle(_SHUFFLE_BUFFER).repeat()
        return data.map(parse).batch(params["batch_size"], drop_remainder=drop_remainder)

    return input_fn


def create_model(
    bert_config: Any,
    is_training: bool,
    input_ids: Any,
    input_mask: Any,
    segment_ids: Any,
    use_one_hot_embeddings: bool,
) -> Tuple[Any, Any]:
    """(start logits [B, S], end logits [B, S])"""
    import modeling

    from .heads import span_logits

    model = modeling.BertModel(
        config=bert_config,
        is_training=is_training,
        input_ids=input_ids,
        input_mask=input_mask,
        token_type_ids=segment_ids,
        use_one_hot_embeddings=use_one_hot_embeddings,
    )
    return span_logits(model.get_sequence_output())


def model_fn_builder(
    bert_config: Any,
    init_checkpoint: Optional[str],
    learning_rate: float,
    num_train_steps: int,
    num_warmup_steps: int,
    use_tpu: bool,
    use_one_hot_embeddings: bool,
) -> Callable:
    """A model_fn for TPUEstimator (TF ≤ 2.15) that trains, and predicts unique_ids, start_logits and end_logits.

    The loss is the original's, in which padding may be an answer too; a run of run_squad.py leaves it out.

    Raises UserError where the installed TensorFlow has no Estimator.
    """
    import optimization

    from .. import estimator_loops

    estimator = estimator_loops.require_estimator()

    def model_fn(features: Dict[str, Any], labels: Any, mode: str, params: Any, config: Any = None) -> Any:
        if mode not in (estimator.ModeKeys.TRAIN, estimator.ModeKeys.PREDICT):
            raise ValueError("Only TRAIN and PREDICT modes are supported: {}".format(mode))
        start_logits, end_logits = create_model(
            bert_config,
            mode == estimator.ModeKeys.TRAIN,
            features["input_ids"],
            features["input_mask"],
            features["segment_ids"],
            use_one_hot_embeddings,
        )
        scaffold_fn = estimator_loops.load_initial_weights(init_checkpoint, use_tpu, config)
        if mode == estimator.ModeKeys.PREDICT:
            predictions = {
                "unique_ids": features["unique_ids"],
                "start_logits": start_logits,
                "end_logits": end_logits,
            }
            return estimator.tpu.TPUEstimatorSpec(mode=mode, predictions=predictions, scaffold_fn=scaffold_fn)
        losses = [
            tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels=positions, logits=logits))
            for positions, logits in (
                (features["start_positions"], start_logits),
                (features["end_positions"], end_logits),
            )
        ]
        loss = (losses[0] + losses[1]) / 2.0
        train_op = optimization.create_optimizer(loss, learning_rate, num_train_steps, num_warmup_steps, use_tpu)
        return estimator.tpu.TPUEstimatorSpec(mode=mode, loss=loss, train_op=train_op, scaffold_fn=scaffold_fn)

    return model_fn


class FlagReaders:
    """The original's functions that read flags. flags: has them as attributes, at the time of a call."""

    def __init__(self, flags: Any) -> None:
        self._flags = flags

    def read_squad_examples(self, input_file: str, is_training: bool) -> List[SquadExample]:
        """The questions of a file; in training with their answers. Raises UserError for a file that is not SQuAD's."""
        examples = []
        for entry in squad_files.articles(input_file):
            for paragraph in entry["paragraphs"]:
                doc_tokens = blank_separated(paragraph["context"])
                for item in paragraph["qas"]:
                    example = SquadExample(item["id"], item["question"], doc_tokens)
                    if not is_training or self._with_answer(example, item, paragraph["context"]):
                        examples.append(example)
        return examples

    def _with_answer(self, example: SquadExample, item: Dict[str, Any], context: str) -> bool:
        """Adds the answer; whether the context has it."""
        example.is_impossible = bool(self._flags.version_2_with_negative and item["is_impossible"])
        if example.is_impossible:
            example.start_position = example.end_position = -1
            example.orig_answer_text = ""
            return True
        if len(item["answers"]) != 1:
            raise ValueError(
                "For training, each question should have exactly 1 answer; {!r} has {}.".format(
                    item["id"], len(item["answers"])
                )
            )
        text, offset = item["answers"][0]["text"], item["answers"][0]["answer_start"]
        if not 0 <= offset < offset + len(text) <= len(context):
            raise UserError("question {!r}: its answer ends outside of the context.".format(item["id"]))
        start, end = (len(blank_separated(context[: place + 1])) - 1 for place in (offset, offset + len(text) - 1))
        actual, expected = " ".join(example.doc_tokens[start : end + 1]), " ".join(text.split())
        if expected not in actual:
            print("Could not find answer: {!r} vs. {!r}".format(actual, expected), file=sys.stderr)
            return False
        example.orig_answer_text, example.start_position, example.end_position = text, start, end
        return True

    def get_final_text(self, pred_text: str, orig_text: str, do_lower_case: bool) -> str:
        """The part of orig_text that the tokenizer writes as pred_text; all of it if there is none."""
        return self._final_text(pred_text, orig_text, tokenization.BasicTokenizer(do_lower_case=do_lower_case))

    def _final_text(self, pred_text: str, orig_text: str, tokenizer: tokenization.BasicTokenizer) -> str:
        place = answers.aligned(pred_text, orig_text, tokenizer.tokenize)
        if place is None and self._flags.verbose_logging:
            print(answers.NOT_FOUND.format(pred_text, orig_text), file=sys.stderr)
        return orig_text if place is None else orig_text[place[0] : place[1]]

    def write_predictions(
        self,
        all_examples: Sequence[Any],
        all_features: Sequence[Any],
        all_results: Sequence[Any],
        n_best_size: int,
        max_answer_length: int,
        do_lower_case: bool,
        output_prediction_file: str,
        output_nbest_file: str,
        output_null_log_odds_file: str,
    ) -> None:
        """Writes the answers of all examples as JSON; the third file only with version_2_with_negative.

        A question for which no span qualifies has the answer "" with that flag, where the original raises.
        """
        flags = self._flags
        rules = Rules(
            n_best_size, max_answer_length, bool(flags.version_2_with_negative), flags.null_score_diff_threshold
        )
        windows = collections.defaultdict(list)
        for feature in all_features:
            windows[feature.example_index].append(feature)
        results = {result.unique_id: result for result in all_results}
        tokenizer = tokenization.BasicTokenizer(do_lower_case=do_lower_case)
        written = Written()
        for number, example in enumerate(all_examples):
            logits = [_window_logits(feature, results[feature.unique_id]) for feature in windows[number]]

            def final_text(
                first: int, last: int, pieces: Sequence[str], words: Sequence[str] = example.doc_tokens
            ) -> Text:
                written = answers.joined_word_pieces(pieces)
                return Text(self._final_text(written, " ".join(words[first : last + 1]), tokenizer))

            written.add(example.qas_id, answers.answers_of(logits, final_text, rules), rules)
        written.write(output_prediction_file, output_nbest_file, output_null_log_odds_file)

    def validate_flags_or_throw(self, bert_config: Any) -> None:
        """Raises ValueError if the flags contradict each other or the model."""
        flags = self._flags
        tokenization.validate_case_matches_checkpoint(flags.do_lower_case, flags.init_checkpoint)
        checks = (
            (flags.do_train or flags.do_predict, "At least one of --do_train and --do_predict must be given."),
            (not flags.do_train or flags.train_file, "--do_train needs --train_file."),
            (not flags.do_predict or flags.predict_file, "--do_predict needs --predict_file."),
            (
                flags.max_seq_length <= bert_config.max_position_embeddings,
                "--max_seq_length={} is more than the model's {} positions.".format(
                    flags.max_seq_length, bert_config.max_position_embeddings
                ),
            ),
            (
                flags.max_seq_length > flags.max_query_length + features.SPECIAL_TOKENS,
                "--max_seq_length={} must be more than --max_query_length={} and 3.".format(
                    flags.max_seq_length, flags.max_query_length
                ),
            ),
        )
        for holds, message in checks:
            if not holds:
                raise UserError(message)


def _window_logits(feature: Any, result: Any) -> WindowLogits:
    words = np.full(len(feature.tokens), -1, np.int64)
    is_best = np.zeros(len(feature.tokens), bool)
    for token, word in feature.token_to_orig_map.items():
        words[token] = word
    for token, best in feature.token_is_max_context.items():
        is_best[token] = best
    logits = (np.asarray(each, np.float64) for each in (result.start_logits, result.end_logits))
    return WindowLogits(feature.tokens, words, is_best, *logits)


class Written:
    """The answers of questions as the original's three files have them."""

    def __init__(self) -> None:
        self.predictions: Dict[str, str] = collections.OrderedDict()
        self.n_best: Dict[str, List[Dict[str, Any]]] = collections.OrderedDict()
        self.null_odds: Dict[str, float] = collections.OrderedDict()

    def add(self, question_id: str, found: answers.Answers, rules: Rules) -> None:
        self.predictions[question_id] = answers.chosen(found, rules).text
        shares = answers.probabilities(answer.score for answer in found.best)
        self.n_best[question_id] = [
            collections.OrderedDict(
                text=answer.text.text,
                probability=share,
                start_logit=answer.start_logit,
                end_logit=answer.end_logit,
            )
            for answer, share in zip(found.best, shares)
        ]
        if found.null_odds is not None:
            self.null_odds[question_id] = found.null_odds

    def write(self, predictions_path: str, n_best_path: str, null_odds_path: str) -> List[str]:
        """The paths of the files that it has written: the last one only if some questions may have no answer."""
        documents = [(predictions_path, self.predictions), (n_best_path, self.n_best)]
        if self.null_odds:
            documents.append((null_odds_path, self.null_odds))
        for path, document in documents:
            with files.atomic_write(path) as file:
                file.write(json.dumps(document, indent=4) + "\n")
        return [path for path, _ in documents]
