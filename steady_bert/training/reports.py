"""The output of a run for people: progress, metrics.jsonl, TensorBoard, result files.

Numbers go to several places from one call: the terminal (a bar) or a log (lines), metrics.jsonl (one JSON object a
line, for programs) and sinks, as a TensorBoard event file. A resumed run continues them at its step: what an earlier
attempt wrote after that step is dropped.
"""

import contextlib
import os
import sys
import time
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np
import tqdm

from ..base import disk, files, json_files, progress_bar, tensorflow_setup
from ..base.deferred_tensorflow import tf
from ..base.errors import UserError

METRICS_FILE, TEST_RESULTS_FILE = "metrics.jsonl", "test_results.json"


def say(text: str) -> None:
    """Prints a line on standard output, without breaking a progress bar.

    A reader that has closed the pipe (`| head`) does not end a run, which writes its numbers to files as well.
    """
    try:
        tqdm.tqdm.write(text, file=sys.stdout)
        sys.stdout.flush()
    except BrokenPipeError:
        tensorflow_setup.discard_standard_output()


class Sink(NamedTuple):
    """Where the numbers of a run go besides metrics.jsonl."""

    write: Callable[[int, str, Dict[str, float]], None]  # step, train or dev, name → value
    close: Callable[[], None]


def tensorboard(folder: str, step: int) -> Sink:
    """An event file in the run's folder. Call it while the run's graph is the default."""
    events = tf.summary.FileWriter(folder)
    # Makes TensorBoard forget what a killed run wrote after this step.
    events.add_session_log(tf.SessionLog(status=tf.SessionLog.START), step + 1)

    def write(at: int, group: str, values: Dict[str, float]) -> None:
        events.add_summary(
            tf.Summary(
                value=[tf.Summary.Value(tag="{}/{}".format(group, n), simple_value=v) for n, v in values.items()]
            ),
            at,
        )
        events.flush()

    return Sink(write, events.close)


class TrainingReport:
    """Reports a run from `step` to `num_train_steps`: metrics.jsonl has every report, as sinks have.

    On a terminal a bar shows the last one. A log file has the first and the last one, also if the run stops or fails,
    and in between one every line_secs; 0: all.
    """

    def __init__(
        self,
        folder: str,
        step: int,
        num_train_steps: int,
        batch_size: int,
        every: int,
        peak_memory: Callable[[], Optional[int]],
        line_secs: float = 0.0,
    ) -> None:
        """peak_memory gives the most bytes that the run has used so far; None if they are not known."""
        self._total = num_train_steps
        self._batch_size = batch_size
        self._every = every
        self._line_secs = line_secs
        self._next_line = time.monotonic()
        self._unsaid: Optional[Tuple[int, Dict[str, float]]] = None  # the last report, if it was no line
        self._peak_memory = peak_memory
        self._step = step
        self._losses: List[float] = []
        self._seconds = 0.0
        self._waited = 0.0
        self._score = ""
        os.makedirs(folder, exist_ok=True)
        self._path = os.path.join(folder, METRICS_FILE)
        _drop_after(self._path, step)
        self._lines = open(self._path, "a", encoding="utf-8")  # noqa: SIM115  (closed in close)
        self.sinks: List[Sink] = []
        self._rate = progress_bar.Rate()
        self._bar = progress_bar.Bar(num_train_steps, step, "step") if progress_bar.fits() else None
        self._prints_lines = self._bar is None or not sys.stdout.isatty()

    @contextlib.contextmanager
    def timed(self) -> Iterator[None]:
        """Counts the time spent inside as training time, the basis of examples/s."""
        started = time.perf_counter()
        yield
        self.count_seconds(time.perf_counter() - started)

    def count_seconds(self, seconds: float) -> None:
        """Counts seconds that the caller has measured as training time."""
        self._seconds += seconds

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """Counts the time spent inside as a step's wait for its input. Use it within `timed`."""
        started = time.perf_counter()
        yield
        self._waited += time.perf_counter() - started

    def advance(self, step: int) -> None:
        """Moves the bar to `step`, whose numbers may follow later."""
        if step > self._step:
            self._rate.note(step)
            if self._bar is not None:
                self._bar.go_to(step)
            self._step = step

    def update(self, step: int, loss: float, learning_rate: float, grad_norm: float, **scaling: float) -> None:
        """Reports the update that led to `step`; learning_rate is the one it used.

        scaling: in float16, loss_scale and the number of overflows so far.
        """
        self._losses.append(loss)
        self.advance(step)
        if not self._every or (step % self._every and step != self._total):
            return
        seconds_a_step = self._seconds / len(self._losses)
        values = {
            "loss": float(np.mean(self._losses)),
            "learning_rate": learning_rate,
            "grad_norm": grad_norm,
            "examples_per_sec": self._batch_size / max(seconds_a_step, 1e-9),
            "input_wait_proportion": self._waited / max(self._seconds, 1e-9),
            **scaling,
        }
        peak = self._peak_memory()
        if peak is not None:
            values["peak_memory_bytes"] = peak
        self._write(step, "train", values)
        if self._bar is not None:
            self._show(values)
        self._unsaid = (step, values)
        if step == self._total or time.monotonic() >= self._next_line:
            self.say_last()
        self._losses, self._seconds, self._waited = [], 0.0, 0.0

    def say_last(self) -> None:
        """Prints the last report as a line, unless it was one. On a terminal, the bar has it."""
        if not self._prints_lines or self._unsaid is None:
            return
        (step, values), self._unsaid = self._unsaid, None
        self._next_line = time.monotonic() + self._line_secs
        left = self._rate.secs_left(self._total)
        if left is None:
            left = (self._total - step) * self._batch_size / values["examples_per_sec"]
        say("step {}/{}  {}  ETA {}".format(step, self._total, _line_of(values), progress_bar.time_text(left)))

    def _show(self, values: Dict[str, float]) -> None:
        """Gives the bar its figures, the most important first."""
        assert self._bar is not None
        facts = ["loss {loss:.4f}", "{score}", "{examples_per_sec:,.0f} examples/s"]
        facts += ["{:.2f} GB".format(values["peak_memory_bytes"] / 1e9)] if "peak_memory_bytes" in values else []
        facts += ["loss scale {loss_scale:,.0f}"] if "loss_scale" in values else []
        facts += ["lr {learning_rate:.3g}", "grad norm {grad_norm:.3f}"]
        self._bar.facts = list(filter(None, (fact.format(score=self._score, **values) for fact in facts)))

    @contextlib.contextmanager
    def evaluating(self) -> Iterator[None]:
        """Within it, the bar says that the dev examples are being evaluated."""
        before = None if self._bar is None else self._bar.facts
        if self._bar is not None and before is not None:
            self._bar.facts = ["evaluating"] + before
            self._bar.refresh()
        yield
        if self._bar is not None and before is not None:
            self._bar.facts = before

    def evaluation(self, step: int, metrics: Dict[str, float], metric: str, note: str, seconds: float) -> None:
        """Reports an evaluation. metric: which of the metrics counts. seconds: how long training waited for it."""
        self._write(step, "dev", dict(metrics, evaluation_secs=seconds))
        self._score = "{} {:.4f}".format(metric, metrics[metric])
        say("step {}/{}  dev: {}  in {:.1f} s{}".format(step, self._total, format_metrics(metrics), seconds, note))

    def _write(self, step: int, group: str, values: Dict[str, float]) -> None:
        line = dict({"step": step, "split": group}, **values)
        with disk.writing(self._path):
            self._lines.write(files.json_text(line) + "\n")
            self._lines.flush()
        for sink in self.sinks:
            sink.write(step, group, values)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()
        try:
            self.say_last()
            with disk.writing(self._path):  # a line that found no room is tried again
                self._lines.close()
        finally:
            for sink in self.sinks:
                sink.close()


def _line_of(values: Dict[str, float]) -> str:
    """A report as a line of a log."""
    text = (
        "loss {loss:.4f}  lr {learning_rate:.3g}  grad norm {grad_norm:.3f}  {examples_per_sec:.1f} examples/s"
        "  waited {input_wait_proportion:.1%} for input"
    )
    if "peak_memory_bytes" in values:
        text += "  peak memory {:.2f} GB".format(values["peak_memory_bytes"] / 1e9)
    if "loss_scale" in values:
        text += "  loss scale {loss_scale:,.0f}, {overflows:,.0f} overflows"
    return text.format(**values)


class NoReport:
    """Stands in for TrainingReport in a worker that writes nothing."""

    @contextlib.contextmanager
    def timed(self) -> Iterator[None]:
        yield

    waiting = evaluating = timed

    def advance(self, step: int) -> None:
        """Does nothing."""

    def update(self, step: int, loss: float, learning_rate: float, grad_norm: float, **scaling: float) -> None:
        """Does nothing."""

    def evaluation(self, step: int, metrics: Dict[str, float], metric: str, note: str, seconds: float) -> None:
        """Does nothing."""

    def say_last(self) -> None:
        """Does nothing."""

    def close(self) -> None:
        """Does nothing."""


def write_trace(folder: str, step: int, step_stats: Any) -> None:
    """Writes folder/profile/step-N.json: when and where each operation ran, for chrome://tracing or ui.perfetto.dev."""
    from tensorflow.python.client import timeline  # works on TF 1.15 to 2.21; no public module has it

    profiles = os.path.join(folder, "profile")
    os.makedirs(profiles, exist_ok=True)
    path = os.path.join(profiles, "step-{}.json".format(step))
    with files.atomic_write(path) as file:
        file.write(timeline.Timeline(step_stats).generate_chrome_trace_format())
    say("Wrote the trace of step {} to {}".format(step, path))


def last_step(folder: str) -> Optional[int]:
    """The last step in the metrics.jsonl of a folder, 0 if no line has one; None without such a file."""
    path = os.path.join(folder, METRICS_FILE)
    if not os.path.isfile(path):
        return None
    with open(path, "rb") as file:
        return max(filter(None, map(_step_of, file)), default=0)


def _drop_after(path: str, step: int) -> None:
    """Removes the lines of metrics.jsonl later than `step`, and a last line that a kill cut short.

    A line that is damaged otherwise, or a file that cannot be read, is kept under another name: it is a log, and no
    reason to stop.
    """
    if not os.path.lexists(path):
        return
    kept, damaged = [], not os.path.isfile(path)
    if not damaged:
        with open(path, "rb") as file:
            for line in file:
                at = _step_of(line)
                if at is None:
                    damaged = damaged or line.endswith(b"\n")
                elif at <= step:
                    kept.append(line)
    if damaged:
        aside = files.free_name(path + ".damaged")
        os.rename(path, aside)
        say("WARNING: {}: lines of it are damaged. It is kept as {}.".format(path, os.path.basename(aside)))
    with files.atomic_write(path, "wb") as file:
        file.writelines(kept)


def _step_of(line: bytes) -> Optional[int]:
    """The step of a line of metrics.jsonl; None for a damaged one."""
    try:
        step = json_files.parse(line, METRICS_FILE)["step"]
    except (UserError, KeyError):
        return None
    return step if type(step) is int else None


def format_metrics(metrics: Dict[str, float]) -> str:
    return "  ".join("{} {:.4f}".format(name, value) for name, value in metrics.items())


def write_eval_results(
    folder: str, metrics: Dict[str, float], step: int, details: Dict[str, Any], prefix: str = "eval_"
) -> None:
    """Writes eval_results.txt in upstream's form (`eval_accuracy = 0.86`) and eval_results.json with `details` too."""
    lines = {prefix + name: value for name, value in metrics.items()}
    lines.update(global_step=step, loss=metrics["loss"])
    with files.atomic_write(os.path.join(folder, "eval_results.txt")) as file:
        file.writelines("{} = {}\n".format(name, lines[name]) for name in sorted(lines))
    files.write_json(os.path.join(folder, "eval_results.json"), dict(metrics, global_step=step, **details))


def write_test_results(
    folder: str, source: str, step: int, metrics: Dict[str, float], details: Dict[str, Any], shown: str = ""
) -> None:
    """Shows and writes the scores of a predicted file, `source`, and what else is known of them."""
    if shown:
        say(shown)
    path = os.path.join(folder, TEST_RESULTS_FILE)
    files.write_json(path, dict(metrics, step=step, file=source, **details))
    say("Wrote {}".format(path))


def write_table(path: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Writes a tab-separated file with a header."""
    with files.atomic_write(path) as file:
        for row in [header] + list(rows):
            file.write("\t".join(row) + "\n")


def sketch_curve(values: np.ndarray, width: int = 64, height: int = 10) -> str:
    """Draws a curve from step 0 on with characters. The top line is its highest value, the bottom line 0."""
    at = np.linspace(0, len(values) - 1, min(width, len(values))).round().astype(int)
    top = float(np.max(values)) or 1.0
    filled = np.ceil(values[at] / top * height - 1e-9)
    rows = ["".join("█" if cell >= level else " " for cell in filled).rstrip() for level in range(height, 0, -1)]
    labels = ["{:.3g}".format(top)] + [""] * (height - 1)
    lines = ["{:>9} │{}".format(label, row) for label, row in zip(labels, rows)]
    lines += ["        0 └" + "─" * len(at), " " * 10 + "0" + str(len(values)).rjust(len(at))]
    return "\n".join(lines)


def plot_curves(path: str, curves: Dict[str, np.ndarray]) -> bool:
    """Writes a figure of learning rates by step, PNG or as the ending says; False if matplotlib is not installed."""
    try:
        import matplotlib
    except ImportError:
        return False
    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 4.5))
    for name, values in curves.items():
        axes.plot(np.arange(len(values)), values, label=name)
    axes.set_xlabel("step")
    axes.set_ylabel("learning rate")
    axes.set_ylim(bottom=0)
    axes.legend()
    figure.tight_layout()
    with files.atomic_write(path, "wb") as file:
        figure.savefig(file, format=os.path.splitext(path)[1].lstrip(".") or "png", dpi=100)
    pyplot.close(figure)
    return True


_MOST_CLASSES = 20  # whose confusions are a table that a terminal can hold


def format_confusion_table(matrix: Sequence[Sequence[int]], labels: Sequence[str]) -> str:
    """A table with a row for each gold label and a column for each predicted one; the most frequent of many."""
    if len(labels) > _MOST_CLASSES:
        pairs = [
            (times, gold, predicted)
            for gold, row in zip(labels, matrix)
            for predicted, times in zip(labels, row)
            if times and gold != predicted
        ]
        pairs = sorted(pairs, key=lambda pair: -pair[0])[:_MOST_CLASSES]
        rows = [["times", "gold", "predicted"], *[["{:,}".format(times), *names] for times, *names in pairs]]
        return "Most frequent confusions\n" + format_table(rows)
    cells = [["gold \\ predicted"] + list(labels)]
    return format_table(
        cells + [[label] + ["{:,}".format(count) for count in row] for label, row in zip(labels, matrix)]
    )


def format_table(rows: Sequence[Sequence[str]]) -> str:
    """Rows as text, with aligned columns."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join("  ".join(cell.rjust(width) for cell, width in zip(row, widths)) for row in rows)
