"""Score clips in parallel processes; a bad clip fails alone."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from plc.apps.workers import Failure, as_done, in_processes, reason_of

_T = TypeVar("_T")
_Item = TypeVar("_Item")

__all__ = ["Failure", "Outcome", "alone", "as_done", "reason_of", "score_clips"]


@dataclass(frozen=True, slots=True)
class Outcome(Generic[_T]):
    """Results and failures, both in the order of the clips."""

    results: list[_T]
    failures: list[Failure]


def score_clips(
    score: Callable[[Path], _T],
    clips: Sequence[Path],
    jobs: int,
    on_done: Callable[[], None] = lambda: None,
) -> Outcome[_T]:
    """Return ``score(clip)`` of every clip.

    Parameters
    ----------
    score : callable
        Picklable if ``jobs > 1``. What it raises becomes the clip's failure.
    clips : sequence of Path
        The clips.
    jobs : int
        Processes, as :func:`as_done` takes them.
    on_done : callable
        Called once for each clip that is done with, failed or not.
    """
    done: dict[int, _T | Failure] = {}
    for number, result in as_done(score, clips, jobs, lambda clip: clip.name):
        done[number] = result
        on_done()
    in_order = [done[number] for number in range(len(clips))]
    return Outcome(
        [result for result in in_order if not isinstance(result, Failure)],
        [result for result in in_order if isinstance(result, Failure)],
    )


def alone(work: Callable[[_Item], _T], item: _Item, name: str) -> _T | Failure:
    """Run an item in a process of its own."""
    ((_, result),) = in_processes(work, [item], 1, lambda _: name)
    return result
