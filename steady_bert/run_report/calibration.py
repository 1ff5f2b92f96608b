"""Are probabilities what they say? The reliability curve and the expected calibration error. Pure.

Predictions are sorted into bins of equal width by their confidence (Naeini et al. 2015; Guo et al. 2017):

    ECE = Σ n_b / N · |correct_b - confidence_b|

with the share of a bin's predictions that are correct and their mean confidence. N predictions · b bins
"""

from typing import List, NamedTuple, Sequence

import numpy as np

BINS = 10


class Bin(NamedTuple):
    low: float
    high: float
    total: int  # predictions
    confidence: float  # the mean; 0 in an empty bin
    correct: float  # the share


class Calibration(NamedTuple):
    bins: List[Bin]
    total: int
    confidence: float  # the mean over all
    correct: float
    error: float  # ECE, 0 to 1


def calibration(confidence: Sequence[float], correct: Sequence[bool], bins: int = BINS) -> Calibration:
    """confidence: [N], 0 to 1; correct: [N]. At least one prediction."""
    confidences, outcomes = np.asarray(confidence, np.float64), np.asarray(correct, np.float64)
    place = np.minimum((confidences * bins).astype(np.int64), bins - 1)
    counts = np.bincount(place, minlength=bins)
    of_counted = np.maximum(counts, 1)
    means = np.bincount(place, confidences, minlength=bins) / of_counted
    shares = np.bincount(place, outcomes, minlength=bins) / of_counted
    error = float(np.sum(counts * np.abs(shares - means)) / len(confidences))
    of_bins = [
        Bin(number / bins, (number + 1) / bins, int(count), float(mean), float(share))
        for number, (count, mean, share) in enumerate(zip(counts, means, shares))
    ]
    return Calibration(of_bins, len(confidences), float(np.mean(confidences)), float(np.mean(outcomes)), error)
