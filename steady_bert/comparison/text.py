"""A comparison as text for a terminal. Pure."""

import math
from typing import Any, List, Optional, Sequence

from ..training import reports
from . import compare
from .compare import Comparison, Flip, OfMetric
from .resampling import Paired
from .sides import Side

_FLIPS_SHOWN = 5
_WIDTH = 100


def described(comparison: Comparison) -> str:
    """Everything that a person looks for first; the page and the JSON file have all of it."""
    parts = [
        "\n".join(_side_line(name, side) for name, side in (("a", comparison.a), ("b", comparison.b))),
        examples_line(comparison),
        reports.format_table(metric_rows(comparison)),
    ]
    if len(comparison.metrics[0].by_seed) > 1:
        parts.append("{} by seed:\n{}".format(comparison.main, reports.format_table(seed_rows(comparison))))
    if comparison.mcnemar:
        parts.append(mcnemar_line(comparison))
    parts += ["\n".join(_flip_lines(comparison)), "\n".join(difference_lines(comparison))]
    parts.append("Verdict: {}. {}".format(comparison.verdict.answer, comparison.verdict.text))
    return "\n\n".join(parts)


def _side_line(name: str, side: Side) -> str:
    return "{}: {} ({})".format(name, side.name, seeds_of(side))


def seeds_of(side: Side) -> str:
    return "{} {}".format("seed" if len(side.seeds) == 1 else "seeds", ", ".join(map(str, side.seeds)))


def examples_line(comparison: Comparison) -> str:
    others = "; {:,} others are not in all runs".format(comparison.left_out) if comparison.left_out else ""
    return "{:,} dev examples{}; {:,} resamples".format(comparison.examples, others, comparison.settings.resamples)


def percent(comparison: Comparison) -> str:
    return "{:g} %".format(round(100 * comparison.settings.confidence, 6))


def metric_rows(comparison: Comparison) -> List[List[str]]:
    """The header and a row for each metric."""
    over_seeds = comparison.metrics[0].seeds is not None
    header = ["metric", "a", "b", "b - a", percent(comparison) + " interval", "p"]
    rows = [header + ["{} interval over seeds".format(percent(comparison)), "p over seeds"] * over_seeds]
    for metric in comparison.metrics:
        rows.append(
            [metric.name, score(metric.a), score(metric.b), *_paired_cells(metric.pooled), *_seed_cells(metric)]
        )
    return rows


def seed_rows(comparison: Comparison) -> List[List[str]]:
    """The header and a row for each seed that both sides have, of the main metric."""
    rows = [["seed", "a", "b", "b - a", percent(comparison) + " interval", "p"]]
    for seed, paired in comparison.metrics[0].by_seed.items():
        rows.append([str(seed), "{:.4f}".format(paired.a), "{:.4f}".format(paired.b), *_paired_cells(paired)])
    return rows


def score(values: Sequence[float]) -> str:
    mean, spread = compare.scores_of_seeds(values)
    return "{:.4f}".format(mean) if spread is None else "{:.4f} ± {:.4f}".format(mean, spread)


def _paired_cells(paired: Paired) -> List[str]:
    return ["{:+.4f}".format(paired.difference), interval(paired.low, paired.high), p_value(paired.p_value)]


def _seed_cells(metric: OfMetric) -> List[str]:
    seeds = metric.seeds
    return [interval(seeds.low, seeds.high), p_value(seeds.p_value)] if seeds else []


def interval(low: float, high: float) -> str:
    if not math.isfinite(high - low):  # scores of seeds without any spread
        return "not known"
    return "{:+.4f} to {:+.4f}".format(low, high)


def p_value(value: float) -> str:
    return "< 0.001" if value < 0.001 else "{:.3f}".format(value)


def mcnemar_line(comparison: Comparison) -> str:
    test = comparison.mcnemar
    assert test is not None
    return "Correct in a alone: {:,}; in b alone: {:,} (McNemar's exact test: {})".format(
        test.only_a, test.only_b, compare.shown_p(test.p_value)
    )


def _flip_lines(comparison: Comparison) -> List[str]:
    flips = comparison.flips
    lines = []
    for title, count, chosen in (
        ("Better in b", flips.better_count, flips.better),
        ("Worse in b", flips.worse_count, flips.worse),
    ):
        shown = chosen[:_FLIPS_SHOWN]
        lines.append("{}: {:,} examples{}".format(title, count, ", those that change most:" if shown else ""))
        for flip in shown:
            lines.append("  line {}: {}".format(flip.line, _cut(" ⏐ ".join(flip.texts))))
            lines.append("    " + _cut("gold: {}; a: {}; b: {}".format(*outcomes(flip))))
    return lines


def outcomes(flip: Flip) -> List[str]:
    """(gold, a, b) as text; the predictions of several seeds once each, with how often they were made."""
    return [value(flip.gold), _several(flip.a), _several(flip.b)]


def _several(predictions: Sequence[Any]) -> str:
    texts = [value(prediction) for prediction in predictions]
    if len(texts) == 1:
        return texts[0]
    return ", ".join("{} × {}".format(texts.count(text), text) for text in dict.fromkeys(texts))


def value(content: Any) -> str:
    """A label, several, a score, tags or an answer as a person reads it."""
    if isinstance(content, list):
        return " ".join(map(str, content)) or "(none)"
    return "{:.4g}".format(content) if isinstance(content, float) else str(content) or "(none)"


def _cut(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _WIDTH else line[: _WIDTH - 1] + "…"


def difference_lines(comparison: Comparison) -> List[str]:
    if not comparison.differences:
        return ["Plans and flags are the same."]
    lines = ["What differs in plan and flags:"]
    return lines + [
        "  {}: {} → {}".format(each.name, side_value(each.a), side_value(each.b)) for each in comparison.differences
    ]


def side_value(text: Optional[str]) -> str:
    return "(not given)" if text is None else text
