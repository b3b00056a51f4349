"""Progress display: bars on a terminal, plain lines elsewhere."""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from plc.errors import printable
from plc_bench.base.progress import LINE_S, duration, shown
from plc_bench.base.workers import Failure
from plc_training.data.library import Clip, Decoded, decode_library
from plc_training.train.loop import Event

# Of the running means of loss and speed.
_SMOOTH = 0.98
_SHOWN_FAILURES = 5


class Display:
    """Display of progress on stderr.

    Parameters
    ----------
    quiet : bool
        Whether to print nothing, as all processes but the first do.
    """

    def __init__(self, quiet: bool = False) -> None:
        self._console = Console(stderr=True, highlight=False, markup=False, quiet=quiet)
        self._moving = self._console.is_terminal and not quiet

    def say(self, text: str) -> None:
        """Print a line."""
        self._console.print(printable(text), soft_wrap=True)

    def failures(self, failures: Sequence[Failure]) -> None:
        """Print the clips that are left out, with reasons."""
        for failure in failures[:_SHOWN_FAILURES]:
            self.say(f"left out: {failure.clip}: {failure.reason}")
        if len(failures) > _SHOWN_FAILURES:
            self.say(f"left out: {len(failures) - _SHOWN_FAILURES} more")

    @contextmanager
    def stage(self, what: str, total: int) -> Iterator[Callable[[], None]]:
        """Show a stage of ``total`` parts; yield a counter of parts."""
        with shown(what, total, self._console, to_the_end=True) as meter:
            yield meter.advance

    @contextmanager
    def training(self, begun: int, steps: int) -> Iterator[Callable[[Event], None]]:
        """Show a training from step ``begun``; yield a call for each step."""
        with self._bar("training", steps, TextColumn("{task.fields[text]}")) as bar:
            bar.update(bar.task_ids[0], completed=begun)
            state = _Training(steps)

            def tell(event: Event) -> None:
                state.note(event)
                bar.update(bar.task_ids[0], completed=event.step, text=state.text())
                if event.figures:
                    figures = _figures(event.figures)
                    self.say(f"step {event.step} of {steps}: {figures}, {state.text()}")
                elif not self._moving and state.line_is_due():
                    self.say(f"step {event.step} of {steps}: {state.text()}")

            yield tell

    @contextmanager
    def _bar(self, what: str, total: int, *columns: TextColumn) -> Iterator[Progress]:
        bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(24),
            MofNCompleteColumn(),
            *columns,
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=self._console,
            transient=True,
            disable=not self._moving,
        )
        with bar:
            bar.add_task(what, total=total, text="")
            yield bar


class _Training:
    """Running means of loss and speed."""

    def __init__(self, steps: int) -> None:
        self._steps = steps
        self._event: Event | None = None
        self._loss = self._seconds = math.nan
        self._told = time.monotonic()

    def note(self, event: Event) -> None:
        first = self._event is None
        self._event = event
        self._loss = event.loss if first else _mixed(self._loss, event.loss)
        seconds = 1.0 / max(event.steps_per_s, 1e-9)
        if not event.figures:  # a validation takes extra time
            self._seconds = seconds if math.isnan(self._seconds) else _mixed(self._seconds, seconds)

    def text(self) -> str:
        assert self._event is not None
        text = f"loss {self._loss:.4g}"
        if math.isnan(self._seconds):
            return text
        left_s = (self._steps - self._event.step) * self._seconds
        return f"{text}, {1.0 / self._seconds:.2f} steps/s, {duration(left_s)} left"

    def line_is_due(self) -> bool:
        now = time.monotonic()
        if now - self._told < LINE_S:
            return False
        self._told = now
        return True


def _mixed(mean: float, value: float) -> float:
    return _SMOOTH * mean + (1.0 - _SMOOTH) * value


def _figures(figures: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.3f}" for name, value in figures.items())


def decode_shown(
    clips: Sequence[Clip], sample_rate: int, cache: Path, jobs: int, display: Display
) -> list[Decoded]:
    """Decode clips with a progress display, and print the failures.

    As :func:`~plc_training.data.library.decode_library`; ``cache`` has one folder for each rate.
    """
    with display.stage("decoding", len(clips)) as advance:
        decoded, failures = decode_library(
            clips, sample_rate, cache / str(sample_rate), jobs, advance
        )
    display.failures(failures)
    return decoded
