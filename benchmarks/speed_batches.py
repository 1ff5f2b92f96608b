"""The file of rows and batches that both sides of a comparison of speed read, and the options of the two workers.

It is an .npz of `ids` and `segments` (all rows, one after the other), `lengths` [rows], `labels` [rows] (of
questions [rows, 2], the answer's first and last token), and the row numbers of each batch, [batches, 32]: `random` in
random order, `grouped` as transformers' length-grouped sampler.
"""

import argparse
from typing import Any, Dict, List, NamedTuple

import numpy as np

BATCH, LENGTH, SEED = 32, 128, 1
MASKED, MASK_ID = 0.15, 103  # of --masked: the share of tokens, and what stands in their place in MiniLM's vocabulary
_MEGABATCH = 50 * BATCH  # rows that are sorted by length together


class Rows(NamedTuple):
    ids: List[np.ndarray]
    segments: List[np.ndarray]
    labels: np.ndarray
    batches: Dict[str, np.ndarray]  # "random", "grouped" → [batches, BATCH] row numbers

    def of(self, order: str, first: int, count: int, size: int) -> np.ndarray:
        """[count, size] row numbers: the order in batches of `size`, from the `first` one on."""
        numbers = self.batches[order].reshape(-1)
        return numbers[: len(numbers) // size * size].reshape(-1, size)[first : first + count]


def save(path: str, features: List[Dict[str, Any]]) -> None:
    lengths = np.array([len(feature["input_ids"]) for feature in features])
    rng = np.random.RandomState(SEED)
    order = rng.permutation(len(features))
    order = order[: len(order) // BATCH * BATCH]
    megabatches = [order[start : start + _MEGABATCH] for start in range(0, len(order), _MEGABATCH)]
    grouped = np.concatenate([m[np.argsort(-lengths[m], kind="stable")] for m in megabatches]).reshape(-1, BATCH)
    np.savez(
        path,
        ids=np.concatenate([feature["input_ids"] for feature in features]),
        segments=np.concatenate([feature["segment_ids"] for feature in features]),
        lengths=lengths,
        labels=np.array([feature["label_ids"][0] for feature in features]),
        random=order.reshape(-1, BATCH),
        grouped=grouped[rng.permutation(len(grouped))],
    )


def load(path: str) -> Rows:
    file = np.load(path)
    ends = np.cumsum(file["lengths"])[:-1]
    return Rows(
        ids=np.split(file["ids"], ends),
        segments=np.split(file["segments"], ends),
        labels=file["labels"],
        batches={name: file[name] for name in ("random", "grouped")},
    )


def masked_places(ids: np.ndarray, number: int) -> np.ndarray:
    """The positions of row `number` that are predicted: .15 of its tokens, at least one, and not [CLS] or [SEP]."""
    count = max(1, round(MASKED * len(ids)))
    return np.sort(np.random.RandomState(number).permutation(np.arange(1, len(ids) - 1))[:count])


def worker_arguments(description: Any) -> argparse.ArgumentParser:
    """What both workers take."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("batches_file", "config_file", "padding", "precision"):
        parser.add_argument(name)
    parser.add_argument("--batch", type=int, default=BATCH, help="examples in a batch")
    parser.add_argument("--length", type=int, default=LENGTH, help="tokens of an example with fixed padding")
    parser.add_argument("--masked", action="store_true", help="masked words are learned instead of classes")
    parser.add_argument("--questions", action="store_true", help="answers in a context are learned instead of classes")
    return parser
