"""How far a run is, on stderr: a moving bar on a terminal, a line now and then anywhere else."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

# Where nothing moves, a line this often.
LINE_S = 30.0


class Lines:
    """Plain lines, where no bar moves; the first when it has taken a while.

    Parameters
    ----------
    say : callable
        Prints a line.
    what : str
        What there is so much of.
    total : int
        How much.
    to_the_end : bool
        Also say that all is done, however short it took.
    """

    def __init__(
        self, say: Callable[[str], None], what: str, total: float, to_the_end: bool = False
    ) -> None:
        self._say, self._what, self._total, self._to_the_end = say, what, total, to_the_end
        self._done = 0.0
        self._began = self._told = time.monotonic()

    def advance(self, count: float = 1) -> None:
        """Count more as done, and say so where it is time."""
        self._done += count
        now = time.monotonic()
        ended = self._to_the_end and self._done >= self._total
        if now - self._told < LINE_S and not ended:
            return
        self._told = now
        left_s = (now - self._began) / self._done * max(0.0, self._total - self._done)
        done = f"{self._done:.0f} of {self._total:.0f}"
        self._say(f"{self._what}: {done}, {duration(left_s)} left")


class Meter:
    """What a run tells how far it is; :func:`shown` makes one."""

    def __init__(self, console: Console, bar: Progress, what: str) -> None:
        self._console, self._bar, self._what = console, bar, what
        self._task = bar.add_task(what, total=None)
        self._lines: Lines | None = None

    def start(self, total: float) -> None:
        """Say how much there is to do."""
        self._bar.update(self._task, total=total)
        if self._bar.disable:
            self._lines = Lines(self._say, self._what, total)

    def advance(self, count: float = 1) -> None:
        """Count more as done."""
        self._bar.advance(self._task, count)
        if self._lines:
            self._lines.advance(count)

    def _say(self, text: str) -> None:
        self._console.print(text, soft_wrap=True, highlight=False, markup=False)


@contextmanager
def shown(what: str, total: float | None = None, console: Console | None = None) -> Iterator[Meter]:
    """Show how far a run is; yield what is told of it."""
    console = console or Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    still = not console.is_terminal
    with Progress(*columns, console=console, transient=True, disable=still) as bar:
        meter = Meter(console, bar, what)
        if total is not None:
            meter.start(total)
        yield meter


def duration(seconds: float) -> str:
    """Return a time as people say it: ``2 h 05 min``, ``3 min 20 s``, ``12 s``."""
    whole = round(seconds)
    hours, minutes = whole // 3600, whole // 60
    if hours:
        return f"{hours} h {minutes % 60:02d} min"
    return f"{minutes} min {whole % 60:02d} s" if minutes else f"{whole} s"
