"""The bodies of requests and answers: our own shape, and that of KServe's Open Inference Protocol, version 2.

https://kserve.github.io/website/docs/concepts/architecture/data-plane/v2-protocol
"""

import json
import re
from typing import Any, Dict, List, Optional, Sequence, Tuple, Union

from pydantic import BaseModel, ConfigDict, StrictInt, StrictStr

from ..base.errors import UserError
from .answers import Answer, Text
from .settings import ServingConfig

_SURROGATE = re.compile("[\ud800-\udfff]")
_DIGITS = 6  # of numbers in answers, as in the files of --do_predict


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", protected_namespaces=())


class Texts(_Body):
    """What is asked about: texts, or pairs of texts, or sentences as lists of words."""

    texts: Optional[List[StrictStr]] = None
    pairs: Optional[List[Tuple[StrictStr, StrictStr]]] = None
    words: Optional[List[List[StrictStr]]] = None

    def asked(self) -> List[Text]:
        """Raises UserError unless exactly one of the three is given."""
        given: List[Any] = [each for each in (self.texts, self.pairs, self.words) if each is not None]
        if len(given) != 1:
            raise UserError("{} of texts, pairs and words were given. Give one.".format(len(given) or "None"))
        return list(given[0])


class VectorTexts(Texts):
    """The same, and which vectors are wanted."""

    pooling: StrictStr = "mean"
    layers: Union[StrictInt, List[StrictInt]] = -1


class Tensor(BaseModel):
    name: StrictStr
    shape: List[StrictInt]
    datatype: StrictStr
    data: List[Any]


class InferenceRequest(BaseModel):
    """KServe's: an input `text`, and for pairs another, `text_pair`. Both are BYTES: strings."""

    id: Optional[StrictStr] = None
    inputs: List[Tensor]

    def asked(self) -> List[Text]:
        """Raises UserError for other inputs than text and text_pair."""
        by_name = {tensor.name: _strings(tensor) for tensor in self.inputs}
        if "text" not in by_name or set(by_name) - {"text", "text_pair"} or len(by_name) != len(self.inputs):
            raise UserError("inputs: {}; give text, or text and text_pair.".format(", ".join(by_name) or "none"))
        if "text_pair" not in by_name:
            return list(by_name["text"])
        if len(by_name["text"]) != len(by_name["text_pair"]):
            raise UserError("inputs: text and text_pair have different lengths.")
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
        characters = sum(map(len, _strings_of(text)))
        if characters > config.max_text_characters:
            raise UserError(
                "texts[{}]: {:,} characters; at most {:,} are read.".format(
                    number, characters, config.max_text_characters
                )
            )
        if any(not each.isascii() and _SURROGATE.search(each) for each in _strings_of(text)):
            raise UserError("texts[{}]: has half of a surrogate pair, which is no character.".format(number))


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
