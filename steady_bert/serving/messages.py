"""The bodies of requests and answers: our own shape, and that of KServe's Open Inference Protocol, version 2.

https://kserve.github.io/website/docs/concepts/architecture/data-plane/v2-protocol
"""

import itertools
import json
import re
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple, Union

from pydantic import BaseModel, BeforeValidator, ConfigDict, StrictInt, StrictStr, model_validator
from typing_extensions import Annotated  # of typing from Python 3.9 on

from ..base.errors import UserError
from .answers import Answer, Text
from .settings import ServingConfig

_SURROGATE = re.compile("[\ud800-\udfff]")
_DIGITS = 6  # of numbers in answers, as in the files of --do_predict
_MOST_KEYS = 10  # of a body; more than any has
_MOST_TENSORS = 3  # of a request; one more than any has


# --- lists that end at their first mistake: pydantic describes each, and a body of 1 MiB has room for 500,000 ---------


def _cut_after_first(is_wrong: Callable[[Any], bool]) -> BeforeValidator:
    def cut(value: Any) -> Any:
        if not isinstance(value, list):
            return value
        return next((value[: number + 1] for number, item in enumerate(value) if is_wrong(item)), value)

    return BeforeValidator(cut)


def _is_no_string(value: Any) -> bool:
    return not isinstance(value, str)


def _is_no_pair(value: Any) -> bool:
    return not isinstance(value, list) or len(value) != 2 or any(map(_is_no_string, value))


def _is_no_sentence(value: Any) -> bool:
    return not isinstance(value, list) or any(map(_is_no_string, value))


def _is_no_integer(value: Any) -> bool:
    return type(value) is not int


_Strings = Annotated[List[StrictStr], _cut_after_first(_is_no_string)]
_Pairs = Annotated[List[Tuple[StrictStr, StrictStr]], _cut_after_first(_is_no_pair)]
_Sentences = Annotated[List[_Strings], _cut_after_first(_is_no_sentence)]
_Integers = Annotated[List[StrictInt], _cut_after_first(_is_no_integer)]


# --- requests ---------------------------------------------------------------------------------------------------------


class Texts(BaseModel):
    """What is asked about: texts, or pairs of texts, or sentences as lists of words."""

    model_config = ConfigDict(extra="forbid", protected_namespaces=())

    texts: Optional[_Strings] = None
    pairs: Optional[_Pairs] = None
    words: Optional[_Sentences] = None

    @model_validator(mode="before")
    @classmethod
    def _with_few_keys(cls, body: Any) -> Any:
        """The body with so many keys that one is unknown, if it has more."""
        return dict(itertools.islice(body.items(), _MOST_KEYS)) if isinstance(body, dict) else body

    def asked(self, readable: Sequence[str]) -> List[Text]:
        """readable: which of the three the model reads. Raises UserError unless one of them alone is given."""
        given: Dict[str, Any] = {"texts": self.texts, "pairs": self.pairs, "words": self.words}
        given = {name: value for name, value in given.items() if value is not None}
        if len(given) != 1:
            raise UserError("{} of texts, pairs and words were given. Give one.".format(len(given) or "None"))
        ((name, value),) = given.items()
        if name not in readable:
            raise UserError("{}: are not read here. Give {}.".format(name, " or ".join(readable)))
        return list(value)


class VectorTexts(Texts):
    """The same, and which vectors are wanted."""

    pooling: StrictStr = "mean"
    layers: Union[StrictInt, _Integers] = -1


class Tensor(BaseModel):
    name: StrictStr
    shape: _Integers
    datatype: StrictStr
    data: List[Any]


def _first_tensors(value: Any) -> Any:
    return value[:_MOST_TENSORS] if isinstance(value, list) else value


class InferenceRequest(BaseModel):
    """KServe's: an input `text`, and for pairs another, `text_pair`. Both are BYTES: strings."""

    id: Optional[StrictStr] = None
    inputs: Annotated[List[Tensor], BeforeValidator(_first_tensors)]

    def asked(self, readable: Sequence[str]) -> List[Text]:
        """Raises UserError for other inputs than text and text_pair. readable: as for Texts."""
        by_name = {tensor.name: _strings(tensor) for tensor in self.inputs}
        if "text" not in by_name or set(by_name) - {"text", "text_pair"} or len(by_name) != len(self.inputs):
            raise UserError("inputs: {}; give text, or text and text_pair.".format(", ".join(by_name) or "none"))
        if "text_pair" not in by_name:
            return list(by_name["text"])
        if len(by_name["text"]) != len(by_name["text_pair"]):
            raise UserError("inputs: text and text_pair have different lengths.")
        if "pairs" not in readable:
            raise UserError("inputs.text_pair: this model reads no pairs. Give text alone.")
        return list(zip(by_name["text"], by_name["text_pair"]))


def _strings(tensor: Tensor) -> List[str]:
    data: List[Any] = [item[0] if isinstance(item, list) and len(item) == 1 else item for item in tensor.data]
    if tensor.datatype != "BYTES" or not all(isinstance(item, str) for item in data):
        raise UserError("inputs.{}: not BYTES, which are strings in JSON.".format(tensor.name))
    if tensor.shape not in ([len(data)], [len(data), 1]):
        raise UserError("inputs.{}: shape {}, but {} strings.".format(tensor.name, tensor.shape, len(data)))
    return data


def require_within_limits(texts: Sequence[Text], config: ServingConfig) -> None:
    """Raises UserError for too many texts, and for one that is too long or holds half of a surrogate pair."""
    if len(texts) > config.max_texts:
        raise UserError("texts: {}; a request may have {}. Send several.".format(len(texts), config.max_texts))
    for number, text in enumerate(texts):
        characters = characters_of(text)
        if characters > config.max_text_characters:
            raise UserError(
                "texts[{}]: {:,} characters; at most {:,} are read.".format(
                    number, characters, config.max_text_characters
                )
            )
        if any(not each.isascii() and _SURROGATE.search(each) for each in _strings_of(text)):
            raise UserError("texts[{}]: has half of a surrogate pair, which is no character.".format(number))


def characters_of(text: Text) -> int:
    return sum(map(len, _strings_of(text)))


def _strings_of(text: Text) -> Sequence[str]:
    return [text] if isinstance(text, str) else text


def rounded(value: Any) -> Any:
    """The value with its numbers as answers have them."""
    if isinstance(value, float):
        return round(value, _DIGITS)
    if isinstance(value, dict):
        return {name: rounded(each) for name, each in value.items()}
    return [rounded(each) for each in value] if isinstance(value, list) else value


def output_tensors(answers: Sequence[Answer], kind: str, labels: Sequence[str]) -> List[Dict[str, Any]]:
    """Answers as KServe's outputs. kind: SavedRun.kind."""
    count = len(answers)
    if kind == "regression":
        return [_tensor("score", "FP32", [count], [answer["score"] for answer in answers])]
    if kind in ("bio", "plain"):
        name = "entities" if kind == "bio" else "tags"
        return [_tensor(name, "BYTES", [count], [json.dumps(rounded(answer[name])) for answer in answers])]
    name = "label" if kind == "single" else "labels"
    chosen = [answer[name] if kind == "single" else ",".join(answer[name]) for answer in answers]
    probabilities = [answer["probabilities"][label] for answer in answers for label in labels]
    return [
        _tensor(name, "BYTES", [count], chosen),
        _tensor("probabilities", "FP32", [count, len(labels)], probabilities),
    ]


def described_tensors(kind: str, labels: Sequence[str]) -> List[Dict[str, Any]]:
    """The outputs as KServe's metadata of a model names them; -1: any number."""
    if kind == "encoder":
        return []
    tensors = output_tensors([], kind, labels)
    return [{"name": t["name"], "datatype": t["datatype"], "shape": [-1] + t["shape"][1:]} for t in tensors]


def _tensor(name: str, datatype: str, shape: List[int], data: List[Any]) -> Dict[str, Any]:
    return {"name": name, "datatype": datatype, "shape": shape, "data": data}
