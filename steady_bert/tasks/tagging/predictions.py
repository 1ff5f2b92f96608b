"""The predictions of windows → tagged sentences → the lines and JSON objects of prediction files."""

import collections
import re
from typing import Any, Dict, List, NamedTuple, Sequence, Tuple

import numpy as np

from ..task import Predictions
from . import schemes as tag_schemes
from .sentences import Sentence
from .windows import COUNTED


class Tagged(NamedTuple):
    """A sentence with its predicted tags."""

    sentence: Sentence
    tags: List[str]
    probabilities: np.ndarray  # [words], those of the tags


def tagged(
    predictions: Predictions, sentences: Dict[int, Sentence], tags: Sequence[str], constrained: bool
) -> List[Tagged]:
    """The sentences that the predictions have windows of, in file order. Each word has exactly one prediction.

    sentences: by number. tags: in id order. constrained: whether tags that cannot follow each other are repaired.
    """
    rows: Dict[int, List[int]] = collections.defaultdict(list)  # sentence number → its windows
    for row, sentence_number in enumerate(predictions["sentence"]):
        rows[int(sentence_number)].append(row)
    results = []
    for number in sorted(rows):
        sentence = sentences[number]
        tag_ids, probabilities = _words_of_windows(predictions, rows[number], sentence, len(tags))
        if constrained:
            tag_ids = legal_at_seams(tag_ids, probabilities, tags)
        chosen = probabilities[np.arange(len(tag_ids)), tag_ids]
        results.append(Tagged(sentence, [tags[tag_id] for tag_id in tag_ids], chosen))
    return results


def _words_of_windows(
    predictions: Predictions, rows: List[int], sentence: Sentence, num_tags: int
) -> Tuple[np.ndarray, np.ndarray]:
    """(tag ids [words], probabilities of all tags [words, tags]), each word's from the window in which it counts."""
    tag_ids = np.full(len(sentence.words), -1)
    probabilities = np.zeros((len(sentence.words), num_tags))
    for row in rows:
        counted = np.flatnonzero(predictions["roles"][row] == COUNTED)
        words = counted + int(predictions["first_word"][row])  # roles have one entry a word, in order
        if np.any(tag_ids[words] != -1):
            raise ValueError("A word of sentence {} is predicted twice.".format(sentence.number))
        tag_ids[words] = predictions["tag_ids"][row][counted]
        probabilities[words] = predictions["probabilities"][row][counted]
    if np.any(tag_ids == -1):
        raise ValueError("A word of sentence {} is not predicted.".format(sentence.number))
    return tag_ids, probabilities


def legal_at_seams(tag_ids: np.ndarray, probabilities: np.ndarray, tags: Sequence[str]) -> np.ndarray:
    """The tags of a sentence, changed only where two of them cannot follow each other.

    That happens where two windows meet: the second goes on with an entity that the first did not begin. The words of
    that entity get the most probable sequence of tags that can follow the word before, each word's probabilities taken
    independently.
    """
    follows, _ = tag_schemes.legal(tags)
    is_inside = np.array([tag_schemes.split_tag(tag)[0] == "I" for tag in tags])
    repaired = tag_ids.copy()
    for word in range(1, len(repaired)):
        if follows[repaired[word - 1], repaired[word]]:
            continue
        end = word + 1
        while end < len(repaired) and is_inside[tag_ids[end]]:
            end += 1
        repaired[word:end] = _most_probable(probabilities[word:end], follows[repaired[word - 1]], follows)
    return repaired


def _most_probable(probabilities: np.ndarray, begins: np.ndarray, follows: np.ndarray) -> List[int]:
    """The allowed sequence of tags with the largest product of probabilities [words, tags], by Viterbi's algorithm."""
    scores = np.log(np.maximum(probabilities, 1e-30))
    best = np.where(begins, scores[0], -np.inf)
    pointers = []
    for score in scores[1:]:
        paths = np.where(follows, best[:, None], -np.inf)
        pointers.append(np.argmax(paths, axis=0))
        best = np.max(paths, axis=0) + score
    sequence = [int(np.argmax(best))]
    for pointer in reversed(pointers):
        sequence.append(int(pointer[sequence[-1]]))
    return sequence[::-1]


# --- what is written --------------------------------------------------------------------------------------------------


def separator_of(sentences: Sequence[Tagged]) -> str:
    """What parts the columns of a file: a tab if it did so before, or a word or a tag has a space within."""
    for sentence, tags, _ in sentences:
        cells = sentence.rows or sentence.words
        if any("\t" in row for row in sentence.rows) or any(" " in tag for tag in tags):
            return "\t"
        if not sentence.rows and any(cell.split() != [cell] for cell in cells):
            return "\t"
    return " "


def column_rows(sentence: Sentence, tags: Sequence[str], separator: str) -> List[str]:
    """The sentence's own lines, or its words, each followed by its predicted tag."""
    rows = sentence.rows or tuple(" ".join(re.split("[\t\r\n]+", word)).strip(" ") or "_" for word in sentence.words)
    if separator == "\t" and sentence.rows:
        rows = tuple(row if "\t" in row else "\t".join(re.split(" +", row.strip(" "))) for row in rows)
    return [row + separator + tag for row, tag in zip(rows, tags)]


def json_entities(sentence: Sentence, tags: Sequence[str], probabilities: Sequence[float]) -> Dict[str, Any]:
    """The entities by characters of the text, end left out; a score is the mean probability of the words' tags."""
    entities: List[Dict[str, Any]] = []
    for kind, first, end in tag_schemes.entities(tags):
        start, stop = sentence.offsets[first][0], sentence.offsets[end - 1][1]
        score = sum(probabilities[first:end]) / (end - first)
        surface = sentence.text[start:stop]
        entities.append({"start": start, "end": stop, "type": kind, "text": surface, "score": round(float(score), 6)})
    return {"id": sentence.example_id, "text": sentence.text, "entities": entities}


def cluener_object(predicted: Dict[str, Any]) -> Dict[str, Any]:
    """A line of CLUENER's own layout from one of json_entities: type → surface → [start, end], the end included."""
    label: Dict[str, Dict[str, List[List[int]]]] = {}
    for entity in predicted["entities"]:
        places = label.setdefault(entity["type"], {}).setdefault(entity["text"], [])
        places.append([entity["start"], entity["end"] - 1])
    number = str(predicted["id"])
    return {"id": int(number) if number.isdigit() else number, "text": predicted["text"], "label": label}


def json_tags(sentence: Sentence, tags: Sequence[str], probabilities: Sequence[float]) -> Dict[str, Any]:
    """The tag of each word by characters of the text, for plain tags."""
    words = [
        {"start": start, "end": end, "tag": tag, "text": word, "score": round(float(probability), 6)}
        for word, (start, end), tag, probability in zip(sentence.words, sentence.offsets, tags, probabilities)
    ]
    return {"id": sentence.example_id, "text": sentence.text, "tags": words}
