"""CLUE's tasks: the layouts of their official files, an object of JSON a line (Xu et al., https://arxiv.org/abs/2004.05986).

Labels are in the order of CLUE's own baselines, and so is what they make of keywords and marked spans.
"""

from typing import Any, Dict, List, Tuple, Union

from ...base.errors import UserError
from ..reading.text_files import Row
from .processor import Columns, DataProcessor, listed


class _Clue(DataProcessor):
    """Files train.json, dev.json and test.json; `keys` hold the texts, label the class, and id names a test example."""

    reads_json = True
    keys: Tuple[str, ...] = ("sentence1", "sentence2")
    what = ""

    def __init__(self) -> None:
        self.text_counts = (len(self.keys),)

    def file_name(self, split: str) -> str:
        return split + ".json"

    def columns(self, first: Any, path: str) -> Columns:
        if not isinstance(first, dict):
            raise UserError("is not JSON; a file of {} has an object a line.".format(self.what))
        missing = [key for key in self.keys if key not in first]
        if missing:
            text = "has no {}, only {}. Is it the right file for {}?"
            raise UserError(text.format(listed(missing), listed(first), self.what))
        text_b = self.keys[1] if len(self.keys) > 1 else None
        known = {name: name if name in first else None for name in ("label", "id")}
        return Columns(0, self.keys[0], text_b, label=known["label"], id=known["id"], header=False)


class _Binary(_Clue):
    def get_labels(self) -> List[str]:
        return ["0", "1"]


class AfqmcProcessor(_Binary):
    """AFQMC: do two questions to a bank mean the same?"""

    what = "AFQMC"
    submission = {"test": "afqmc_predict.json"}


class TnewsProcessor(_Clue):
    """TNEWS: which of 15 kinds is the news of a title? test.json is the one of CLUE 1.1."""

    what = "TNEWS"
    keys = ("sentence",)
    submission = {"test": "tnews11_predict.json"}
    _kinds = {
        "100": "story",
        "101": "culture",
        "102": "entertainment",
        "103": "sports",
        "104": "finance",
        "106": "house",
        "107": "car",
        "108": "edu",
        "109": "tech",
        "110": "military",
        "112": "travel",
        "113": "world",
        "114": "stock",
        "115": "agriculture",
        "116": "game",
    }

    def get_labels(self) -> List[str]:
        return list(self._kinds)

    def submission_object(self, example_id: str, label: str) -> Dict[str, Any]:
        return dict(super().submission_object(example_id, label), label_desc="news_" + self._kinds[label])


class IflytekProcessor(_Clue):
    """IFLYTEK: which of 119 kinds is the app of a long description?"""

    what = "IFLYTEK"
    keys = ("sentence",)
    submission = {"test": "iflytek_predict.json"}

    def get_labels(self) -> List[str]:
        return [str(number) for number in range(119)]


class CmnliProcessor(_Clue):
    """CMNLI: does the second sentence follow from the first? Examples without an agreed label ("-") are left out."""

    what = "CMNLI"
    unwanted = "examples without an agreed label"
    submission = {"test": "cmnli_predict.json"}

    def get_labels(self) -> List[str]:
        return ["contradiction", "entailment", "neutral"]

    def _wanted(self, split: str, row: Row) -> bool:
        return split.startswith("test") or row.cells.get("label") != "-"  # type: ignore[union-attr]


class WscProcessor(_Clue):
    """WSC (CLUEWSC2020): does the pronoun mean the noun? _noun_ and [pronoun] are marked in the text."""

    what = "CLUEWSC2020"
    keys = ("text",)
    submission = {"test": "cluewsc11_predict.json"}

    def get_labels(self) -> List[str]:
        return ["true", "false"]

    def _text(self, row: Row, key: Union[int, str]) -> str:
        return with_marks(super()._text(row, key), row.cells.get("target"))  # type: ignore[union-attr]


def with_marks(text: str, target: Any) -> str:
    """A text with both spans of CLUEWSC2020's `target` marked. Raises UserError for a span that is not in it."""
    spans = []
    for name, begin, end in (("span1", "_", "_"), ("span2", "[", "]")):
        try:
            span, start = target[name + "_text"], target[name + "_index"]
        except (KeyError, TypeError):
            raise UserError("target has no {0}_text and {0}_index. Fix the line.".format(name)) from None
        if not (
            isinstance(span, str) and isinstance(start, int) and span and start >= 0 and text[start:].startswith(span)
        ):
            raise UserError("{} {!r} is not at {!r} of the text. Fix the line.".format(name, span, start))
        spans.append((start, start + len(span), begin, end))
    first, second = sorted(spans)
    if first[1] > second[0]:
        raise UserError("the two spans overlap. Fix the line.")
    for start, stop, begin, end in (second, first):
        text = text[:start] + begin + text[start:stop] + end + text[stop:]
    return text


class CslProcessor(_Binary):
    """CSL: are all of these the keywords of the abstract? The keywords, with spaces between, are the first text."""

    what = "CSL"
    keys = ("keyword", "abst")
    submission = {"test": "csl_predict.json"}

    def _text(self, row: Row, key: Union[int, str]) -> str:
        cell = row.cells[key]  # type: ignore[index]
        if key == "keyword" and isinstance(cell, list) and all(isinstance(word, str) for word in cell):
            return " ".join(cell)
        return super()._text(row, key)
