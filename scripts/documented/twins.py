"""Tiny twins of the data, models and runs that the documentation's commands name, in one folder."""

import json
import os
import random
import re
import shutil
from typing import Any, Iterable, List

from . import pages

LETTERS = "abcdefghijklmnopqrstuvwxyz"
VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *LETTERS, *("##" + letter for letter in LETTERS)]
VOCABULARY += list("0123456789,.!?") + ["good", "bad", "the", "crew", "was"]
# From 1,000 pieces with letters on, a vocabulary without upper case counts as uncased.
VOCABULARY += [prefix + a + b for prefix in ("", "##") for a in LETTERS for b in LETTERS]
CONFIG = dict(
    vocab_size=len(VOCABULARY),
    hidden_size=16,
    num_hidden_layers=1,
    num_attention_heads=2,
    intermediate_size=32,
    hidden_act="gelu",
    hidden_dropout_prob=0.1,
    attention_probs_dropout_prob=0.1,
    max_position_embeddings=512,
    type_vocab_size=2,
    initializer_range=0.1,
)
MODELS = (
    "BERT",
    "bert-base-uncased",
    "bert-base-cased",
    "bert-base-chinese",
    "quickstart/model",
)  # copies of `uncased`
_WORDS = ["the", "crew", "was", "in", "rome", "today", "again", "we", "flew"]
_KINDS = {"good": "positive", "bad": "negative", "the": "neutral"}
_NEWS = dict(positive="103", negative="108", neutral="116")
_TRAINING = "--do_train --do_eval --num_train_steps=3"
# Each is run in the folder before the pages are.
PREPARATION = (
    "python scripts/convert_checkpoint.py --to=safetensors --source=uncased --output=HUGGING_FACE_FOLDER",
    "python create_pretraining_data.py --input_file=corpus/*.txt --output_file=records/a.tfrecord --dupe_factor=1 "
    "--vocab_file=uncased/vocab.txt",
    "python run_classifier.py --task_name=text --data_dir=quickstart/data --model=quickstart/model "
    "--output_dir=quickstart/run --do_train --do_eval --max_seq_length=64 --eval_batch_size=32 "
    "--max_train_examples=4000 --max_eval_examples=1000 --num_train_epochs=2",
    "python run_classifier.py --do_predict --model_dir=quickstart/run --output_dir=quickstart/predictions "
    "--predict_file=quickstart/sentences.tsv",
) + tuple(
    "python run_classifier.py --task_name=text --data_dir=quickstart/data --model=uncased --optimizer={} --seed={} "
    "--output_dir=runs/{}-seed{} {}".format(optimizer, seed, name, seed, _TRAINING)
    for name, optimizer in (("base", "adamw"), ("ranger", "ranger"))
    for seed in (1, 2)
)


def write(folder: str) -> None:
    """Writes everything but what PREPARATION and `write_weights` make; the folder is empty before."""
    rng = random.Random(1)
    tweets = [_tweet(rng, str(number)) for number in range(60)]
    for name, part in (("train", tweets), ("dev", tweets[:16])):
        for parent in ("quickstart/data", "DATA"):
            _put(folder, "{}/{}.tsv".format(parent, name), _table(["id", "text", "label"], part))
    for name, part in (("reviews/train", tweets), ("reviews/dev", tweets[:16]), ("new", tweets[:5])):
        rows = ['"{}",{}'.format(text, label) for _, text, label in part]
        _put(folder, name + ".csv", ["body,stars", *rows])
    _put(folder, "new.tsv", _table(["id", "text"], [row[:2] for row in tweets[:5]]))
    sentences = re.findall(r"^\d\t.*", pages.read("scripts/quickstart.sh"), re.M)
    _put(folder, "quickstart/sentences.tsv", ["id\ttext", *sentences])
    _put(folder, "sentences.txt", [sentence[2:] for sentence in sentences])
    for name, part in (("train", tweets), ("dev", tweets[:16]), ("test", tweets[:5])):
        news = [dict(id=int(number), sentence=text, label=_NEWS[label]) for number, text, label in part]
        _put(folder, "clue/tnews/{}.json".format(name), map(json.dumps, news))
    header = ["Quality", "#1 ID", "#2 ID", "#1 String", "#2 String"]
    pairs = [["01"[label == "positive"], "1", "2", text, "the crew was good"] for _, text, label in tweets]
    _put(folder, "glue/MRPC/train.tsv", _table(header, pairs))
    _put(folder, "glue/MRPC/dev.tsv", _table(header, pairs[:16]))
    _put(folder, "glue/MRPC/test.tsv", _table(["index", *header[1:]], [["0", *pair[1:]] for pair in pairs[:5]]))
    tagged = [line for _, text, _ in tweets for line in [*map(_tagged, text.split()), ""]]
    for name in ("train.conll", "dev.conll", "test.conll", "train.txt", "dev.txt"):
        _put(folder, name, tagged)
    for name in ("train.json", "dev.json", "questions.json"):
        _put(folder, name, [json.dumps(_questions(tweets[:12]))])
    corpus = [line for number, (_, text, _) in enumerate(tweets) for line in [text] + [""] * (number % 4 == 3)]
    for name in ("corpus/a.txt", "corpus/b.txt", "held_out.txt"):
        _put(folder, name, [*corpus, ""])
    _put(folder, "uncased/vocab.txt", VOCABULARY)
    _put(folder, "uncased/bert_config.json", [json.dumps(CONFIG)])
    for name in ("records", "runs"):
        os.makedirs(os.path.join(folder, name))


def write_weights(folder: str) -> None:
    """Writes random weights into `uncased`, and its copies. Starts TensorFlow."""
    import tensorflow.compat.v1 as tf

    import modeling

    with tf.Graph().as_default(), tf.Session() as session:
        ids = tf.zeros([1, 8], tf.int32)
        modeling.BertModel(modeling.BertConfig.from_dict(CONFIG), is_training=False, input_ids=ids)
        session.run(tf.global_variables_initializer())
        tf.train.Saver().save(session, os.path.join(folder, "uncased", "bert_model.ckpt"), write_meta_graph=False)
    for name in MODELS:
        shutil.copytree(os.path.join(folder, "uncased"), os.path.join(folder, name))


def write_long(folder: str) -> None:
    """Writes 8,000 examples, for README's run of 4 epochs in batches of 32."""
    rng = random.Random(2)
    rows = [[str(number), rng.choice(["good", "bad"]), "01"[number % 2]] for number in range(8000)]
    _put(folder, "long/train.tsv", _table(["id", "text", "label"], rows))


def _put(folder: str, name: str, lines: Iterable[str]) -> None:
    path = os.path.join(folder, name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8") as file:
        file.write("\n".join(lines) + "\n")


def _table(header: List[str], rows: List[List[str]]) -> List[str]:
    return ["\t".join(row) for row in [header, *rows]]


def _tweet(rng: random.Random, name: str) -> List[str]:
    word = rng.choice(sorted(_KINDS))
    words = rng.choices(_WORDS, k=5)
    return [name, " ".join([*words[:2], word, *words[2:], "."]), _KINDS[word]]


def _tagged(word: str) -> str:
    return word + (" B-LOC" if word == "rome" else " O")


def _questions(tweets: List[List[str]]) -> Any:
    def paragraph(name: str, text: str) -> Any:
        answer = text.split()[2]
        answers = [{"text": answer, "answer_start": text.index(" " + answer) + 1}]
        return {"context": text, "qas": [{"id": name, "question": "the crew ?", "answers": answers}]}

    return {"version": "1.1", "data": [{"title": "t", "paragraphs": [paragraph(row[0], row[1]) for row in tweets]}]}
