"""Progress on stderr: a bar on a terminal, else a line now and then."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)

from plc.errors import printable

# Seconds between two lines where there is no bar.
LINE_S = 30.0


class Meter:
    """Progress of a run; :func:`shown` makes one."""

    def __init__(self, bar: Progress, what: str, to_the_end: bool, share: bool) -> None:
        self._bar, self._what, self._to_the_end, self._share = bar, what, to_the_end, share
        self._task = bar.add_task(escape(what), total=None, note="")
        self._done = 0.0
        self._began = self._told = time.monotonic()

    def start(self, total: float, done: float = 0.0) -> None:
        """Set the total and the items done already, and start the clock."""
        self._bar.update(self._task, total=total, completed=done)
        self._done = done
        self._began = self._told = time.monotonic()

    def advance(self, count: float = 1, note: str = "") -> None:
        """Add ``count`` to the finished items; a note stands beside their number."""
        self._bar.update(self._task, advance=count, note=note)
        self._tell(note)

    def reach(self, done: float, total: float | None) -> None:
        """Set the finished items, and the total where it is known."""
        self._bar.update(self._task, completed=done, total=total)
        self._tell("")

    def _tell(self, note: str) -> None:
        """Print a line where there is no bar, if it is time."""
        task, now = self._bar.tasks[self._task], time.monotonic()
        if not self._bar.disable or not task.total or task.completed <= self._done:
            return
        ended = self._to_the_end and task.completed >= task.total
        if now - self._told < LINE_S and not ended:
            return
        self._told = now
        left = max(0.0, task.total - task.completed)
        left_s = (now - self._began) / (task.completed - self._done) * left
        share, count = f"{task.percentage:.0f} %", f"{task.completed:.0f} of {task.total:.0f}"
        done = ", ".join(filter(None, [share if self._share else count, note]))
        self._bar.console.print(
            f"{self._what}: {done}, {duration(left_s)} left",
            soft_wrap=True,
            highlight=False,
            markup=False,
        )


@contextmanager
def shown(
    what: str,
    total: float | None = None,
    console: Console | None = None,
    *,
    to_the_end: bool = False,
    share: bool = False,
) -> Iterator[Meter]:
    """Show the progress of a block; yield its meter.

    Parameters
    ----------
    what : str
        Unit of the total, such as ``clips``.
    total : float, optional
        Amount of work; without it :meth:`Meter.start` says it.
    console : Console, optional
        Where to show it; stderr by default.
    to_the_end : bool
        Without a bar, also print the last line of a short run.
    share : bool
        Whether it shows the finished share in per cent, not how many of how many.
    """
    console = console or Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn() if share else MofNCompleteColumn(),
        TextColumn("{task.fields[note]}"),
        TimeRemainingColumn(),
    )
    still = not console.is_terminal
    with Progress(*columns, console=console, transient=True, disable=still) as bar:
        meter = Meter(bar, printable(what), to_the_end, share)
        if total is not None:
            meter.start(total)
        yield meter


def duration(seconds: float) -> str:
    """Return a time in words: ``2 h 05 min``, ``3 min 20 s``, ``12 s``."""
    whole = round(seconds)
    hours, minutes = whole // 3600, whole // 60
    if hours:
        return f"{hours} h {minutes % 60:02d} min"
    return f"{minutes} min {whole % 60:02d} s" if minutes else f"{whole} s"
