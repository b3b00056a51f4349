"""Score clips in parallel processes; a bad clip fails alone."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from plc.files.parallel import Failure, as_done, in_processes, reason_of

_T = TypeVar("_T")
_Item = TypeVar("_Item")

__all__ = ["Failure", "Outcome", "alone", "as_done", "name_of", "reason_of", "score_clips"]


@dataclass(frozen=True, slots=True)
class Outcome(Generic[_T]):
    """Results and failures, both in the order of the items."""

    results: list[_T]
    failures: list[Failure]


def name_of(item: Any) -> str:
    """Return the name of a path, clip or kind in a failure."""
    return str(getattr(item, "name", item))


def score_clips(
    score: Callable[[_Item], _T],
    clips: Sequence[_Item],
    jobs: int,
    on_done: Callable[[], None] = lambda: None,
    name: Callable[[_Item], str] = name_of,
) -> Outcome[_T]:
    """Return ``score(clip)`` of every clip.

    Parameters
    ----------
    score : callable
        Picklable if ``jobs > 1``. What it raises becomes the clip's failure.
    clips : sequence
        Paths, or other items to score.
    jobs : int
        Processes, as :func:`as_done` takes them.
    on_done : callable
        Called once for each clip that is done with, failed or not.
    name : callable
        Names an item in a failure.
    """
    done: dict[int, _T | Failure] = {}
    for number, result in as_done(score, clips, jobs, name):
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
