"""JSON of annotators → texts with spans: ours, CLUENER's, doccano's, Label Studio's, Prodigy's and spaCy's.

A file is a value a line, or an array of values. Of each text its entities are lists [0, 3, "PER"] or objects such as
{"start": 0, "end": 3, "type": "PER"}, the end left out, except in CLUENER's.
"""

from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple

from ...base.errors import UserError
from ..reading import text_files
from ..task import BadLines
from .offsets import Span, is_whole
from .sentences import Layout
from .spans import MarkedText

_STARTS = ("start", "start_offset", "begin")
_ENDS = ("end", "end_offset", "stop")
_TYPES = ("type", "label", "labels", "tag", "entity", "entity_type", "entity_group")
_SURFACES = ("text", "surface")
# The keys that hold a list of entities, most telling first.
_LISTS = ("entities", "spans", "ents", "label", "labels")

Marked = Tuple[str, Optional[List[Span]]]  # the text; its spans, None if it has no entities


class Export(NamedTuple):
    """How a value of JSON gives a text and its entities."""

    fits: Callable[[Any], bool]  # whether a value shows that its file is such an export
    marked: Callable[[Any], Marked]  # raises UserError


def texts_of(export: Export) -> Callable[[str, Layout, BadLines], Iterator[MarkedText]]:
    """The function that reads the texts of a file."""

    def texts(path: str, layout: Layout, bad_lines: BadLines) -> Iterator[MarkedText]:
        for row in text_files.json_values(path, bad_lines, layout.encoding):
            try:
                text, spans = export.marked(row.cells)
            except UserError as error:
                bad_lines.add(UserError("{}: {}".format(row.place, error)))
                continue
            own_id = row.cells.get("id") if isinstance(row.cells, dict) else None
            yield MarkedText(row.place, row.line, str(row.record if own_id is None else own_id), text, spans)

    return texts


# --- spans as most give them ------------------------------------------------------------------------------------------


def _text_in(value: Any, names: Sequence[str] = ("text",)) -> str:
    if not isinstance(value, dict):
        raise UserError('not a JSON object like {"text": …, "entities": …}. Fix it, or give another --format.')
    for name in names:
        if isinstance(value.get(name), str):
            return str(value[name])
    keys = ", ".join(list(value)[:10])
    raise UserError(
        '"{}" is missing, or is not a string. It has: {}. Fix the line.'.format(names[0], keys or "nothing")
    )


def _listed(value: Any, names: Sequence[str]) -> Optional[List[Span]]:
    """The entities under the first of the names that has some, or is there; None if none is."""
    present = [name for name in names if value.get(name) is not None]
    name = next((name for name in present if value[name] != []), present[0] if present else None)
    return None if name is None else _spans(value[name], name)


def _spans(items: Any, name: str) -> List[Span]:
    if not isinstance(items, list):
        raise UserError('"{}" is not a list of entities. Fix the line.'.format(name))
    return [_span(item) for item in items]


def _span(item: Any) -> Span:
    if isinstance(item, (list, tuple)) and len(item) == 3:
        return Span(item[2], item[0], item[1])
    found = [_first_of(item, names) for names in (_TYPES, _STARTS, _ENDS)] if isinstance(item, dict) else [None]
    if None in found:
        message = 'the entity {!r} is not like {{"start": 0, "end": 3, "type": "PER"}}, or [0, 3, "PER"]. Fix it.'
        raise UserError(message.format(item))
    kind, start, end = found
    if isinstance(kind, list):
        if len(kind) != 1:
            raise UserError("the entity {} to {} has {} types: a word has one. Fix it.".format(start, end, len(kind)))
        kind = kind[0]
    surface = _first_of(item, _SURFACES)
    return Span(kind, start, end, surface if isinstance(surface, str) else None)


def _first_of(item: Dict[str, Any], names: Sequence[str]) -> Any:
    return next((item[name] for name in names if item.get(name) is not None), None)


def _json(value: Any) -> Marked:
    text = _text_in(value)
    if _is_cluener(value):
        return text, _cluener_spans(value["label"])
    return text, _listed(value, _LISTS)


# --- CLUENER ----------------------------------------------------------------------------------------------------------


def _is_cluener(value: Any) -> bool:
    return isinstance(value, dict) and isinstance(value.get("label"), dict)


def _cluener(value: Any) -> Marked:
    return _text_in(value), _cluener_spans(value["label"]) if _is_cluener(value) else _listed(value, _LISTS)


def _cluener_spans(label: Dict[str, Any]) -> List[Span]:
    """{"type": {"surface": [[first, last], …]}}"""
    spans = []
    for kind, mentions in label.items():
        malformed = UserError(
            'the "label" of {!r} is not like {{"name": {{"surface": [[0, 6]]}}}}. Fix it.'.format(kind)
        )
        if not isinstance(mentions, dict):
            raise malformed
        for surface, places in mentions.items():
            if not isinstance(places, list):
                raise malformed
            for place in places:
                if not isinstance(place, list) or len(place) != 2 or not all(map(is_whole, place)):
                    raise malformed
                spans.append(Span(kind, place[0], place[1] + 1, surface))
    return spans


# --- doccano ----------------------------------------------------------------------------------------------------------


def _is_doccano(value: Any) -> bool:
    """{"text": …, "label": [[0, 3, "PER"], …]}, or "entities" with start_offset and end_offset."""
    if not isinstance(value, dict):
        return False
    lists = [value.get(name) for name in ("label", "labels")]
    if any(isinstance(items, list) and all(isinstance(item, list) for item in items) for items in lists):
        return True
    entities = value.get("entities")
    return isinstance(entities, list) and any(isinstance(item, dict) and "start_offset" in item for item in entities)


def _doccano(value: Any) -> Marked:
    text = _text_in(value, ("text", "data"))
    return text, _listed(value, ("label", "labels", "entities"))


# --- Label Studio -----------------------------------------------------------------------------------------------------


def _is_label_studio(value: Any) -> bool:
    """{"data": {"text": …}, "annotations": [{"result": …}]}, or JSON-MIN's {"text": …, "label": [{"labels": …}]}."""
    if not isinstance(value, dict):
        return False
    if isinstance(value.get("data"), dict):
        return isinstance(_first_of(value, ("annotations", "completions")), list)
    return any(map(_has_labels, value.values()))


def _has_labels(items: Any) -> bool:
    return isinstance(items, list) and any(
        isinstance(item, dict) and isinstance(item.get("labels"), list) for item in items
    )


def _label_studio(value: Any) -> Marked:
    if not isinstance(value, dict) or not isinstance(value.get("data"), dict):
        text = _text_in(value)
        labelled = [items for items in value.values() if _has_labels(items)]
        return text, [_span(item) for items in labelled for item in items]  # no key where nothing was labelled
    data = value["data"]
    strings = [name for name, content in data.items() if isinstance(content, str)]
    text = _text_in(data, ["text"] + (strings if len(strings) == 1 else []))
    annotations = _first_of(value, ("annotations", "completions"))
    if not isinstance(annotations, list):
        return text, None
    kept = [each for each in annotations if isinstance(each, dict) and not each.get("was_cancelled")]
    kept = [each for each in kept if each.get("ground_truth")] or kept
    several = [_results(each) for each in kept]
    if any(sorted(map(str, spans)) != sorted(map(str, several[0])) for spans in several[1:]):
        raise UserError("{} annotations that differ. Mark one as ground truth, or export one.".format(len(several)))
    return text, several[0] if several else None


def _results(annotation: Dict[str, Any]) -> List[Span]:
    """The spans of an annotation; its relations and choices are left out."""
    results = annotation.get("result")
    values = [item.get("value") for item in results if isinstance(item, dict)] if isinstance(results, list) else []
    return [_span(value) for value in values if isinstance(value, dict) and isinstance(value.get("labels"), list)]


# --- Prodigy, spaCy ---------------------------------------------------------------------------------------------------


def _is_prodigy(value: Any) -> bool:
    """{"text": …, "spans": [{"start": 0, "end": 3, "label": "PER"}], "answer": "accept"}"""
    return isinstance(value, dict) and isinstance(value.get("spans"), list)


def _prodigy(value: Any) -> Marked:
    text = _text_in(value)
    answer = value.get("answer", "accept")
    if answer != "accept":
        raise UserError('"answer" is {!r}. Export what was accepted: db-out --answer accept.'.format(answer))
    return text, _listed(value, ("spans",))


def _is_spacy(value: Any) -> bool:
    """["text", {"entities": [[0, 3, "PER"]]}], or {"text": …, "ents": …}"""
    if isinstance(value, dict):
        return isinstance(value.get("ents"), list)
    return isinstance(value, list) and len(value) == 2 and isinstance(value[0], str) and isinstance(value[1], dict)


def _spacy(value: Any) -> Marked:
    if isinstance(value, dict):
        return _text_in(value), _listed(value, ("ents", "entities"))
    if not _is_spacy(value):
        raise UserError('not like ["text", {"entities": [[0, 3, "PER"]]}]. Fix the line.')
    return value[0], _listed(value[1], ("entities",))


# In the order in which a file is asked whether it is one of them. json takes any file.
EXPORTS: Dict[str, Export] = {
    "cluener": Export(_is_cluener, _cluener),
    "spacy": Export(_is_spacy, _spacy),
    "label_studio": Export(_is_label_studio, _label_studio),
    "prodigy": Export(_is_prodigy, _prodigy),
    "doccano": Export(_is_doccano, _doccano),
    "json": Export(lambda value: isinstance(value, dict) and value.get("entities") is not None, _json),
}
