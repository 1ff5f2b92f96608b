"""README.md of a Hugging Face folder: how to use it, and what transformers' files have no place for."""

from typing import List

from ..serving.saved_run import SavedRun
from ..tasks.classification.assembly import TaskInputs
from ..tasks.tagging.assembly import TaggingInputs
from .reference import threshold_of

_HEAD = """---
library_name: transformers
pipeline_tag: {task}
---

# {title}

A BERT that was fine-tuned with Steady BERT, exported from step {step} of its run. `export_check.json` says on which
file its numbers were compared with the run's.

```python
{code}
```

## What the files beside this one do not say

{notes}
"""


def text(run: SavedRun) -> str:
    """The card in Markdown."""
    tagging = run.script == "run_ner"
    return _HEAD.format(
        task="token-classification" if tagging else "text-classification",
        title="A tagger of words" if tagging else "A classifier of texts",
        step=run.prefix.rpartition("-")[2],
        code=_tagger_code() if tagging else _classifier_code(run),
        notes="\n".join("- " + note for note in (_tagger_notes(run) if tagging else _classifier_notes(run))),
    )


def _classifier_code(run: SavedRun) -> str:
    arguments = "" if run.kind == "single" else ", top_k=None"
    return (
        "from transformers import pipeline\n\n"
        'classify = pipeline("text-classification", model=FOLDER)\n'
        'print(classify({{"text": "One text.", "text_pair": "Its partner, if there is one."}}, truncation=True, '
        "max_length={}{}))"
    ).format(run.inputs.max_seq_length, arguments)


def _tagger_code() -> str:
    return (
        "from transformers import pipeline\n\n"
        'tag = pipeline("token-classification", model=FOLDER, ignore_labels=[])\n'
        'words = "The words of a sentence , apart .".split()\n'
        "starts = [sum(map(len, words[:n])) + n for n in range(len(words))]  # where each is, with spaces between\n"
        "of_place = {piece['start']: piece['entity'] for piece in tag([words], is_split_into_words=True)[0]}\n"
        "print([(word, of_place.get(start)) for word, start in zip(words, starts)])"
    )


def _classifier_notes(run: SavedRun) -> List[str]:
    inputs = run.inputs
    assert isinstance(inputs, TaskInputs)
    length, long_text = inputs.max_seq_length, inputs.long_text
    notes = [
        "max_seq_length={0}: the model was trained on texts of at most {0} pieces. `model_max_length` of the tokenizer "
        "is the same number, but the pipeline cuts only with `truncation=True`.".format(length)
    ]
    if long_text.mode == "windows":
        notes.append(
            "Longer texts were read in overlapping windows whose logits are pooled by {}. The pipeline reads the first "
            "window alone: its predictions of longer texts are others than the run's.".format(long_text.pooling)
        )
    elif long_text.mode == "head_tail":
        notes.append(
            "The run read the beginning and the end of longer texts. The pipeline reads the beginning alone: its "
            "predictions of longer texts are others than the run's."
        )
    else:
        notes.append(
            "Longer texts are cut at the end; of a pair, the longer text is, piece by piece. Where both have the same "
            "length, transformers may cut the other one."
        )
    if run.kind == "multi":
        notes.append(
            "A label is predicted from a probability of {:.6g} on. `top_k=None` gives the probability of each.".format(
                threshold_of(run)
            )
        )
    if run.kind == "regression":
        notes.append("The score is the predicted number itself, under the name LABEL_0.")
    return notes


def _tagger_notes(run: SavedRun) -> List[str]:
    inputs = run.inputs
    assert isinstance(inputs, TaggingInputs)
    length = inputs.max_seq_length
    notes = [
        "A word is tagged at its first piece; what the model says at the others was never trained. Words are what the "
        "run's files have apart ({}), which is why the code above hands over words. From text as a whole, the pipeline "
        'with `aggregation_strategy="first"` takes every piece that does not begin with ## for a word: “don\'t” is '
        "three.".format(inputs.layout.text_units),
        "max_seq_length={}: longer sentences were cut into overlapping windows, in one of which each word counts. The "
        "pipeline cuts them off there, unless it is given a `stride`.".format(length),
    ]
    if inputs.constrained_decoding:
        notes.append(
            "The run decodes with --constrained_decoding: no tag follows another that cannot precede it. The pipeline "
            "takes each word's best tag. --to=saved_model decodes as the run does."
        )
    if not inputs.plain:
        notes.append("Tags are BIO: B- begins an entity, I- goes on with it, O is outside.")
    return notes
