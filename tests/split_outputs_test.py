"""The outputs for a split's examples: collected in any order, sent by other workers, never other than finite."""

import base64
import io
import types

import numpy as np
import pytest

from steady_bert.base import progress_lines
from steady_bert.base.errors import UserError
from steady_bert.training.evaluation import SplitOutputs


def test_an_evaluation_that_is_not_finite_is_an_error_and_such_predictions_too():
    task = types.SimpleNamespace(per_token_predictions=(), score=lambda split, predictions: {"accuracy": score})
    values = {"loss": 1.0, "score": 0.5, "probability": 0.5}
    for name, wrong in [(name, wrong) for name in values for wrong in (np.nan, np.inf)] + [("loss", 1.0)]:
        given = dict(values, **{name: wrong})
        score = given["score"]
        outputs = SplitOutputs(task, np.zeros(2))
        predictions = {"probabilities": np.array([[0.5], [given["probability"]]], np.float32)}
        if not np.isfinite(given["probability"]):
            with pytest.raises(UserError, match="The model's probabilities are not finite: .* a lower --learning_rate"):
                outputs.add(np.arange(2), [1.0, given["loss"]], [1.0, 1.0], predictions)
            continue
        outputs.add(np.arange(2), [1.0, given["loss"]], [1.0, 1.0], predictions)
        if np.isfinite(wrong):
            assert outputs.evaluation("dev").metrics == {"accuracy": 0.5, "loss": 1.0}
        else:
            with pytest.raises(UserError, match=r"Evaluation of dev gives no number for \w+ \((nan|inf)\): "):
                outputs.evaluation("dev")


def test_the_evaluation_at_the_end_shows_how_far_it_is(monkeypatch, capsys):
    monkeypatch.setattr(progress_lines, "_FIRST_SECS", 0.0)
    task = types.SimpleNamespace(per_token_predictions=())
    outputs = SplitOutputs(task, np.zeros(3), "Evaluating dev")
    outputs.add(np.array([0]), [1.0], [1.0], {})
    outputs.add(np.array([2, 1]), [1.0, 1.0], [1.0, 1.0], {})
    lines = [line.split(", ")[0] for line in capsys.readouterr().out.splitlines()]
    assert lines == ["Evaluating dev: 1 of 3 examples (33%)", "Evaluating dev: 3 of 3 examples (100%)"]


def archive(save, *arrays, **named):
    """What numpy.save, savez or savez_compressed writes, as workers send it."""
    file = io.BytesIO()
    save(file, *arrays, **named)
    return base64.b64encode(file.getvalue()).decode("ascii")


def test_outputs_of_another_worker_are_added_or_refused_whatever_the_text_is():
    task = types.SimpleNamespace(per_token_predictions=("tags",))
    records = np.zeros(3).view(np.recarray)
    records.index = {"tokens": [2, 1, 1]}
    sent, received = SplitOutputs(task, records), SplitOutputs(task, records)
    predictions = {"score": np.array([0.5, 0.25], np.float32), "tags": np.array([[1, 2], [3, 4]])}
    sent.add(np.array([0, 2]), [1.0, 2.0], [1.0, 1.0], predictions)
    text = sent.packed()
    assert received.is_packed(text) and received.is_packed("")
    received.add(np.array([1]), [4.0], [1.0], {"score": np.array([0.125]), "tags": np.array([[5, 6]])})
    received.unpack(text)
    assert received._loss.tolist() == [1, 4, 2] and received.predictions["score"] == [0.5, 0.125, 0.25]
    assert [tags.tolist() for tags in received.predictions["tags"]] == [[1, 2], [5], [3]]
    arrays = dict(numbers=np.arange(300) % 3, loss=np.zeros(300), weight=np.ones(300))
    squeezed = archive(np.savez_compressed, **arrays)
    refused = [None, 0, [], {}, "é", "AAAA", text[:-8], text[8:], squeezed[:80] + "AAAA" + squeezed[84:]]
    refused += [archive(np.save, np.zeros(9)), archive(np.savez, numbers=np.zeros(1, int))]
    refused += [archive(np.savez, **dict(arrays, numbers=number)) for number in (np.full(300, 3), np.zeros(300))]
    refused += [archive(np.savez, **dict(arrays, loss=loss)) for loss in (np.zeros(2), np.array(["a"] * 300))]
    assert [bad for bad in refused if received.is_packed(bad)] == []
