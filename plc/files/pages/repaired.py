"""A page of repairs, before and after, to listen to."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from plc.files.audio import AudioReader
from plc.files.pages import listening
from plc.files.recordings import Repaired
from plc.notice import counted

# What is heard and seen before a gap and after it.
_MARGIN_S = 0.7
# A page of more is slow to open; the longest gaps are shown.
_EXCERPTS_OF_A_FILE = 4
_EXCERPTS = 40
# Longer stretches are cut.
_LONGEST_S = 6.0
_BLOCK_S = 1.0
_BEFORE, _AFTER = "before", "after"


@dataclass(frozen=True, slots=True)
class Excerpt:
    """A stretch of a recording around a gap, before and after."""

    start: int
    """First sample, of the recording."""
    before: NDArray[np.float32]
    """float32, shape (n, channels)."""
    after: NDArray[np.float32]
    lost: NDArray[np.bool_]
    """bool, shape (n,)."""
    channels: tuple[int, ...]
    """Those with holes; none where all have."""


def page_of(
    repaired: Sequence[Repaired], refused: Sequence[tuple[str, str]] = (), done: str = "filled"
) -> str:
    """Return a page of recordings, with their longest gaps to hear.

    Parameters
    ----------
    repaired : sequence of Repaired, the recordings
    done : str, what was done with gaps: ``"filled"`` or ``"concealed"``
    refused : sequence of (str, str), recordings that failed, and why

    Raises
    ------
    AudioFileError
        If a recording cannot be read.
    """
    count = max(1, min(_EXCERPTS_OF_A_FILE, _EXCERPTS // max(1, len(repaired))))
    clips: list[listening.Clip] = []
    for one in repaired:
        if len(clips) < _EXCERPTS:
            clips += [_clip(one, excerpt, done) for excerpt in excerpts_of(one, count)]
    gaps = sum(len(one.gaps) for one in repaired)
    about = f"{counted(len(repaired), 'recording')}, {counted(gaps, 'gap')} {done}"
    about += f", {counted(len(refused), 'recording')} failed." if refused else "."
    if (heard := sum(_count(clip.lost) for clip in clips)) < gaps:
        excerpts = counted(len(clips), "excerpt")
        about += f" To listen to: {excerpts} with {heard} of them, the longest among these."
    tables = [_gap_table(repaired, done)]
    if any(one.long_gaps for one in repaired):
        tables.append(f"<h2>Long gaps</h2>{_long_gap_table(repaired)}")
    if refused:
        rows = [[(source, None), (reason, None)] for source, reason in refused]
        tables.append(f"<h2>Failed</h2>{listening.table(['recording', 'why'], rows)}")
    marks = f"Red marks are the {done} gaps."
    title = "Repaired" if done == "filled" else "Concealed"
    return listening.page(title, about, "".join(tables), clips, marks)


def excerpts_of(one: Repaired, count: int) -> list[Excerpt]:
    """Return the surroundings of a recording's longest gaps, in order of time."""
    longest = sorted(one.gaps, key=lambda gap: gap[0] - gap[1])[:count]
    margin = round(_MARGIN_S * one.sample_rate)
    most = round(_LONGEST_S * one.sample_rate)
    spans: list[tuple[int, int]] = []
    for start, stop in sorted(longest):
        first, last = max(0, start - margin), stop + margin
        if spans and first < spans[-1][1] and last <= spans[-1][0] + most:
            spans[-1] = (spans[-1][0], last)
        else:
            spans.append((first, min(last, first + most)))
    befores, afters = (stretches(path, spans) for path in (one.source, one.target))
    found = []
    for (start, _), before, after in zip(spans, befores, afters, strict=True):
        # A lossy target may end some samples later.
        size = min(len(before), len(after))
        lost = np.zeros(size, np.bool_)
        for first, last in one.gaps:
            lost[max(0, first - start) : max(0, last - start)] = True
        some = one.channels_in(start, start + size)
        where = some if len(some) < before.shape[1] else ()
        found.append(Excerpt(start, before[:size], after[:size], lost, where))
    return found


def stretches(path: Path, spans: Sequence[tuple[int, int]]) -> list[NDArray[np.float32]]:
    """Return stretches of a recording, read once; one at the end may be shorter."""
    found: list[list[NDArray[np.float32]]] = [[] for _ in spans]
    last = max((stop for _, stop in spans), default=0)
    with AudioReader(path) as reader:
        position = 0
        for block in reader.stream(round(_BLOCK_S * reader.sample_rate)):
            for parts, (start, stop) in zip(found, spans, strict=True):
                part = block[max(0, start - position) : max(0, stop - position)]
                if len(part):
                    parts.append(part)
            position += len(block)
            if position >= last:
                break
        channels = reader.channels
    empty = np.empty((0, channels), np.float32)
    return [np.concatenate([empty, *parts]) for parts in found]


def _count(lost: NDArray[np.bool_]) -> int:
    return int(np.count_nonzero(np.diff(lost, prepend=False) & lost))


def _clip(one: Repaired, excerpt: Excerpt, done: str) -> listening.Clip:
    gaps = _count(excerpt.lost)
    several = f"{gaps} gaps, " if gaps > 1 else ""
    lost_ms = 1000 * np.count_nonzero(excerpt.lost) / one.sample_rate
    first = excerpt.start + int(np.argmax(excerpt.lost))
    return listening.Clip(
        name=one.name,
        what=f"{place_in_time(first / one.sample_rate)} · {several}{lost_ms:.1f} ms {done}"
        f"{which(excerpt.channels)}{_how(one, excerpt)}",
        sample_rate=one.sample_rate,
        versions=[
            listening.Version(name=_BEFORE, signal=excerpt.before),
            listening.Version(name=_AFTER, signal=excerpt.after),
        ],
        lost=excerpt.lost,
        seen=excerpt.channels,
    )


def _how(one: Repaired, excerpt: Excerpt) -> str:
    """Return how the long gaps of an excerpt were filled, as the end of a line."""
    stop = excerpt.start + len(excerpt.lost)
    inside = [gap for gap in one.long_gaps if gap.start < stop and gap.stop > excerpt.start]
    return "".join(f" · {how}" for how in dict.fromkeys(gap.how(one.sample_rate) for gap in inside))


def which(channels: Sequence[int]) -> str:
    """Return which channels are meant, as the end of a line; nothing where all are."""
    told = ", ".join(str(channel + 1) for channel in channels)
    return f" · channel{'s' if len(channels) > 1 else ''} {told}" if told else ""


def _gap_table(repaired: Iterable[Repaired], done: str) -> str:
    rows: list[list[tuple[str, float | None]]] = []
    with_kinds = any(one.found for one in repaired)
    for one in repaired:
        lengths_ms = [1000 * (stop - start) / one.sample_rate for start, stop in one.gaps]
        filled_ms, longest_ms = sum(lengths_ms), max(lengths_ms, default=0.0)
        row: list[tuple[str, float | None]] = [
            (one.name, None),
            (str(len(one.gaps)), len(one.gaps)),
            (f"{filled_ms:.1f}", filled_ms),
            (f"{longest_ms:.1f}", longest_ms),
        ]
        if with_kinds:
            row.append((kinds(one.found), None))
        rows.append(row)
    headings = ["recording", "gaps", f"{done}, ms", "longest, ms"]
    return listening.table([*headings, *(["found"] if with_kinds else [])], rows)


def _long_gap_table(repaired: Iterable[Repaired]) -> str:
    rows: list[list[tuple[str, float | None]]] = []
    for one in repaired:
        for gap in one.long_gaps:
            begin_s = gap.start / one.sample_rate
            ms = 1000 * (gap.stop - gap.start) / one.sample_rate
            how = f"{gap.how(one.sample_rate)}{which(gap.channels) if one.holes else ''}"
            at = place_in_time(begin_s), begin_s
            rows.append([(one.name, None), at, (f"{ms:.0f}", ms), (how, None)])
    return listening.table(["recording", "at", "ms", "filled"], rows)


def kinds(found: Sequence[str]) -> str:
    """Return how many gaps of each kind were found, as text."""
    return ", ".join(f"{found.count(kind)} {kind}" for kind in sorted(set(found)))


def place_in_time(seconds: float) -> str:
    """Return a place in a recording as people read it."""
    hours, rest = divmod(seconds, 3600)
    return f"{int(hours)}:{int(rest // 60):02d}:{rest % 60:05.2f}"
