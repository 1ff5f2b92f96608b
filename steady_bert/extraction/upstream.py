"""What scripts written for google-research/bert import from extract_features."""

from typing import Any, Callable, Dict, List, Optional, Sequence

import numpy as np

from ..base.deferred_tensorflow import tf
from .lines import InputExample, encoded, examples_of


class InputFeatures:
    """An example as ids, padded. tokens: without padding."""

    def __init__(
        self,
        unique_id: int,
        tokens: List[str],
        input_ids: List[int],
        input_mask: List[int],
        input_type_ids: List[int],
    ) -> None:
        self.unique_id = unique_id
        self.tokens = tokens
        self.input_ids = input_ids
        self.input_mask = input_mask
        self.input_type_ids = input_type_ids


def read_examples(input_file: str) -> List[InputExample]:
    return list(examples_of(input_file))


def convert_examples_to_features(examples: Sequence[Any], seq_length: int, tokenizer: Any) -> List[InputFeatures]:
    features = []
    for line in (encoded(example, seq_length, tokenizer) for example in examples):
        tokens = len(line.tokens)
        padding = [0] * (seq_length - tokens)
        features.append(
            InputFeatures(
                unique_id=line.unique_id,
                tokens=line.tokens,
                input_ids=line.input_ids + padding,
                input_mask=[1] * tokens + padding,
                input_type_ids=line.input_type_ids + padding,
            )
        )
    return features


def input_fn_builder(features: Sequence[InputFeatures], seq_length: int) -> Callable:
    """An input_fn over features in memory, in order. params: batch_size."""
    names = ("input_ids", "input_mask", "input_type_ids")
    columns = {
        name: np.array([getattr(feature, name) for feature in features], np.int32).reshape(-1, seq_length)
        for name in names
    }
    columns["unique_ids"] = np.array([feature.unique_id for feature in features], np.int32)

    def input_fn(params: Dict[str, Any]) -> Any:
        return tf.data.Dataset.from_tensor_slices(columns).batch(params["batch_size"], drop_remainder=False)

    return input_fn


def model_fn_builder(
    bert_config: Any,
    init_checkpoint: Optional[str],
    layer_indexes: Sequence[int],
    use_tpu: bool,
    use_one_hot_embeddings: bool,
) -> Callable:
    """A model_fn for TPUEstimator (TF ≤ 2.15) that predicts unique_id and layer_output_0, _1, …

    Raises UserError where the installed TensorFlow has no Estimator.
    """
    import modeling

    from ..tasks import estimator_loops

    estimator = estimator_loops.require_estimator()

    def model_fn(features: Dict[str, Any], labels: Any, mode: str, params: Any) -> Any:
        if mode != estimator.ModeKeys.PREDICT:
            raise ValueError("Only PREDICT modes are supported: {}".format(mode))
        model = modeling.BertModel(
            config=bert_config,
            is_training=False,
            input_ids=features["input_ids"],
            input_mask=features["input_mask"],
            token_type_ids=features["input_type_ids"],
            use_one_hot_embeddings=use_one_hot_embeddings,
        )
        scaffold_fn = estimator_loops.load_initial_weights(init_checkpoint, use_tpu)
        layers = model.get_all_encoder_layers()
        predictions = {"unique_id": features["unique_ids"]}
        for number, layer in enumerate(layer_indexes):
            predictions["layer_output_{}".format(number)] = layers[layer]
        return estimator.tpu.TPUEstimatorSpec(mode=mode, predictions=predictions, scaffold_fn=scaffold_fn)

    return model_fn
