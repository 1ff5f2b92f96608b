"""Writes the losses of 50 updates on MRPC without dropout, and the batches, so that another system can repeat them.

parity_tensorflow.py MRPC_FOLDER MODEL_FOLDER BATCHES_NPZ LOSSES_JSON [STEPS]
"""

import json
import os
import sys
from typing import Any, Dict, List

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

import numpy as np
import tensorflow.compat.v1 as tf

import modeling
import optimization
import tokenization
from steady_bert.tasks import heads
from steady_bert.tasks.classification.features import encode_pairs
from steady_bert.tasks.classification.glue import MrpcProcessor
from steady_bert.training.input_pipeline import TrainingOrder

BATCH, LENGTH, SEED = 32, 128, 1
RATE, TRAIN_STEPS, WARMUP = 5e-5, 343, 34


def batches(data: str, vocab: str, steps: int) -> List[Dict[str, np.ndarray]]:
    tokenizer = tokenization.FullTokenizer(vocab)
    examples = MrpcProcessor().get_train_examples(data)
    order = TrainingOrder(len(examples), SEED)
    result = []
    for step in range(steps):
        chosen = [examples[number] for number in order.numbers(step * BATCH, BATCH)]
        encoded = encode_pairs(tokenizer, chosen, LENGTH)
        longest = max(len(e.input_ids) for e in encoded)
        result.append(
            {
                "ids": np.array([e.input_ids + [0] * (longest - len(e.input_ids)) for e in encoded]),
                "segments": np.array([e.segment_ids + [0] * (longest - len(e.segment_ids)) for e in encoded]),
                "mask": np.array([[1] * len(e.input_ids) + [0] * (longest - len(e.input_ids)) for e in encoded]),
                "labels": np.array([int(e.label) for e in chosen]),
            }
        )
    return result


def main() -> None:
    data, model_folder, batches_file, losses_file = sys.argv[1:5]
    steps = int(sys.argv[5]) if len(sys.argv) > 5 else 50
    all_batches = batches(data, os.path.join(model_folder, "vocab.txt"), steps)
    config = modeling.BertConfig.from_json_file(os.path.join(model_folder, "bert_config.json"))
    head = (0.02 * np.random.RandomState(SEED).randn(2, config.hidden_size)).astype(np.float32)
    arrays: Dict[str, Any] = {"{}/{}".format(n, name): v for n, b in enumerate(all_batches) for name, v in b.items()}
    np.savez(batches_file, head=head, **arrays)
    with tf.Graph().as_default(), tf.Session() as session, tf.variable_scope("", use_resource=True):
        fed = {name: tf.placeholder(tf.int32, [None] * (1 if name == "labels" else 2)) for name in all_batches[0]}
        model = modeling.BertModel(config, False, fed["ids"], fed["mask"], fed["segments"])
        logits = heads.classification_logits(model.get_pooled_output(), 2, 0.0)
        loss = tf.reduce_mean(heads.softmax_cross_entropy(logits, fed["labels"])[0])
        train_op = optimization.create_optimizer(loss, RATE, TRAIN_STEPS, WARMUP, False)
        checkpoint = os.path.join(model_folder, "bert_model.ckpt")
        names, _ = modeling.get_assignment_map_from_checkpoint(tf.trainable_variables(), checkpoint)
        tf.train.init_from_checkpoint(checkpoint, names)
        session.run(tf.global_variables_initializer())
        weights = [v for v in tf.trainable_variables() if v.op.name == "output_weights"]
        weights[0].load(head, session)
        losses = []
        for batch in all_batches:
            feeds = {fed[name]: value for name, value in batch.items()}
            losses.append(float(session.run([loss, train_op], feeds)[0]))
    with open(losses_file, "w") as file:
        json.dump({"system": "TensorFlow " + tf.version.VERSION, "losses": losses}, file)
    print("TensorFlow {}: {} losses, {:.4f} … {:.4f}".format(tf.version.VERSION, steps, losses[0], losses[-1]))


if __name__ == "__main__":
    main()
