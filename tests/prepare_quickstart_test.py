"""The quickstart's corpus: each text once, every dropped row counted, readable by the text task."""

import collections
import os
import subprocess
import sys

from hypothesis import given
from hypothesis import strategies as st

from steady_bert.tasks.classification.own_text import TextProcessor

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(ROOT, "scripts"))

import prepare_quickstart  # noqa: E402

# Few letters, so that texts repeat: in the same case and another, under the same label and another.
ROWS = st.lists(st.tuples(st.text("aAbB", max_size=3), st.sampled_from(["negative", "positive"])), max_size=60)


@given(ROWS)
def test_each_text_is_kept_once_unless_its_labels_differ(rows):
    labels = collections.defaultdict(set)
    for text, label in rows:
        if text:
            labels[text.lower()].add(label)
    kept, repeated, conflicting = prepare_quickstart.without_duplicates(rows)
    unambiguous = {(text, min(of_text)) for text, of_text in labels.items() if len(of_text) == 1}
    assert sorted((text.lower(), label) for text, label in kept) == sorted(unambiguous)
    assert set(kept) <= set(rows)
    assert len(kept) + repeated + conflicting == len(rows)


@given(st.sets(st.integers(0, 999)), st.randoms())
def test_the_splits_do_not_depend_on_the_order_of_the_rows(numbers, random):
    rows = [("text {}".format(number), "neutral") for number in sorted(numbers)]
    splits = prepare_quickstart.split(rows)
    assert sorted(splits["train"] + splits["dev"] + splits["test"]) == sorted(rows)
    assert len(splits["dev"]) == len(splits["test"]) == len(rows) // 20
    random.shuffle(rows)
    assert prepare_quickstart.split(rows) == splits


def test_the_files_are_what_the_text_task_reads(tmp_path):
    awkward = ['say "no"', 'one " quote', "tab\tand\nline\u2028breaks\x85", "comma, comma", "ünï 😀"]
    rows = [(text, "positive") for text in awkward] + [("text {}".format(n), "negative") for n in range(60)]
    with open(str(tmp_path / "corpus.csv"), "w", encoding="utf-8", newline="") as file:
        file.write("sentiment,confidence,text\n")
        file.writelines('{},1,"{}"\n'.format(label, text.replace('"', '""')) for text, label in rows)
    command = [sys.executable, os.path.join(ROOT, "scripts", "prepare_quickstart.py")]
    subprocess.run(command + [str(tmp_path / "corpus.csv"), str(tmp_path / "data")], check=True)
    labels = TextProcessor().find_labels(str(tmp_path / "data" / "train.tsv"))
    assert labels == ["negative", "positive"]
    examples = []
    for split in ("train", "dev", "test"):
        path = str(tmp_path / "data" / (split + ".tsv"))
        examples += [(e.text_a, e.label) for e in TextProcessor(labels).read_examples(path, "dev")]
    assert sorted(examples) == sorted((" ".join(text.split()), label) for text, label in rows)
