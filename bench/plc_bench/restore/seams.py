"""Seams and holes that are nearly silent: ``plc bench detect damage --seams``.

A recorder whose buffer overruns says a block again, leaves one out, or puts silence between two,
and goes on where it was: the recording changes its length. So it does at equal distances where the
overrun has a cause that comes again, and the search must not take that for a beat. An editor that
silences a stretch leaves its noise, and MP3 smears the edges.

Each clip gets each sort, at equal distances or at drawn ones, where the clip sounds on both sides.
What is found and doubted is counted apart: it is not filled.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

import plc
from plc_bench.base.corpus import Clip, clip_seed, read_clip
from plc_bench.base.tables import Table
from plc_bench.restore.damage import REPEAT_SNR_DB, Damage, rms, sounds, through
from plc_bench.restore.study import is_true, place_of, share

LENGTHS_MS = (5.0, 10.0, 20.0, 40.0)
NEAR_SILENT_MS = (20.0, 40.0, 80.0)
_NEAR_SILENT_RMS = 10 ** (-70 / 20)
# Distances: of all seams of a recording, or the least and the mean of what is added to it.
_PERIOD_S, _APART_S, _MORE_S = (0.25, 1.2), 0.4, 0.3
_MARGIN_S, _SIDE_MS = 0.4, 5.0


@dataclass(frozen=True, slots=True)
class _Seam:
    """A piece between two parts of a clip; samples left out."""

    piece: NDArray[np.float32]
    gone: int


_Maker = Callable[[NDArray[np.float32], int, int, int, np.random.Generator], _Seam | None]


def _again(
    clip: NDArray[np.float32], place: int, length: int, side: int, rng: np.random.Generator
) -> _Seam | None:
    piece = clip[place - length : place]
    return _Seam(piece, 0) if _differ(piece, clip[place : place + length]) else None


def _left_out(
    clip: NDArray[np.float32], place: int, length: int, side: int, rng: np.random.Generator
) -> _Seam | None:
    behind = clip[place + length : place + length + side]
    heard = _differ(clip[place : place + side], behind)
    return _Seam(clip[:0], length) if heard else None


def _silence(
    clip: NDArray[np.float32], place: int, length: int, side: int, rng: np.random.Generator
) -> _Seam | None:
    return _Seam(np.zeros(length, np.float32), 0)


def _near_silence(
    clip: NDArray[np.float32], place: int, length: int, side: int, rng: np.random.Generator
) -> _Seam | None:
    return _Seam((_NEAR_SILENT_RMS * rng.standard_normal(length)).astype(np.float32), length)


def _differ(one: NDArray[np.float32], other: NDArray[np.float32]) -> bool:
    return rms(one - other) > 10 ** (-REPEAT_SNR_DB / 20) * rms(other)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sort:
    """A sort of seams, and the file that holds it."""

    kind: str
    make: _Maker
    regular: bool
    lengths_ms: tuple[float, ...] = LENGTHS_MS
    container: str = "wav"


SORTS = {
    f"{name}, {'regular' if regular else 'drawn'}": Sort(kind=kind, make=make, regular=regular)
    for name, kind, make in (
        ("block said again", "repeat", _again),
        ("block left out", "click", _left_out),
        ("silence put in", "silence", _silence),
    )
    for regular in (False, True)
} | {
    "nearly silent, in MP3": Sort(
        kind="silence",
        make=_near_silence,
        regular=False,
        lengths_ms=NEAR_SILENT_MS,
        container="mp3",
    )
}
"""Name to sort."""


def seamed(
    clip: NDArray[np.float32], sample_rate: int, sort: Sort, seed: int
) -> tuple[NDArray[np.float32], list[Damage]]:
    """Return a clip with seams, and where they are in it.

    Parameters
    ----------
    clip : float32, shape (n,), the clip
    sample_rate : int, in Hz
    sort : Sort, of :data:`SORTS`
    seed : int, of places and lengths
    """
    rng = np.random.default_rng(seed)
    period, side = rng.uniform(*_PERIOD_S), round(_SIDE_MS * sample_rate / 1000)
    length_ms = float(rng.choice(sort.lengths_ms))
    parts: list[NDArray[np.float32]] = []
    damage: list[Damage] = []
    taken = made = 0  # samples of the clip and of the result
    at_s = _MARGIN_S
    while True:
        at_s += period if sort.regular else _APART_S + rng.exponential(_MORE_S)
        length_ms = length_ms if sort.regular else float(rng.choice(sort.lengths_ms))
        length = round(length_ms * sample_rate / 1000)
        place = taken + round(at_s * sample_rate) - made
        if place + length > clip.size - _MARGIN_S * sample_rate:
            break
        heard = sounds(clip, place, place + length, sample_rate)
        seam = sort.make(clip, place, length, side, rng) if heard else None
        if seam is None:
            continue
        parts += [clip[taken:place], seam.piece]
        start = made + place - taken
        taken, made = place + seam.gone, start + seam.piece.size
        damage.append(Damage(start, max(made, start + 1), sort.kind, length_ms))
    return np.concatenate([*parts, clip[taken:]]), damage


@dataclass(frozen=True, slots=True)
class SeamScores:
    """Seams of one sort in one clip.

    Attributes
    ----------
    clip, sort : str, which
    found, doubted : tuple of bool
        Of each seam, whether it is found and would be filled; and whether it is doubtful.
    false : int, places that would be filled, and are no seams
    """

    clip: str
    sort: str
    found: tuple[bool, ...]
    doubted: tuple[bool, ...]
    false: int


def score_seams(item: tuple[str, Clip]) -> SeamScores:
    """Return the seams of one sort that are found in a clip."""
    name, clip = item
    sort = SORTS[name]
    read = read_clip(clip.path)
    rate = read.sample_rate
    broken, damage = seamed(read.signal.mean(axis=1), rate, sort, clip_seed(f"{clip.name} {name}"))
    findings = plc.detect(through(sort.container, broken, rate), sample_rate=rate)
    filled = [each for each in findings if not each.doubt]
    doubtful = [each for each in findings if each.doubt]
    return SeamScores(
        clip.name,
        name,
        tuple(place_of(each, filled, rate).found for each in damage),
        tuple(place_of(each, doubtful, rate).found for each in damage),
        sum(not is_true(each, damage, rate) for each in filled),
    )


def seams_table(scores: Sequence[SeamScores]) -> Table:
    """Return a row for each sort."""
    clips = len({each.clip for each in scores})
    table = Table(
        f"Seams found and filled in {clips} clips (95 % interval)",
        ("sort", "places", "found", "doubtful", "false"),
    )
    for sort in SORTS:
        of_sort = [each for each in scores if each.sort == sort]
        found = [each for score in of_sort for each in score.found]
        doubted = sum(each for score in of_sort for each in score.doubted)
        false = sum(each.false for each in of_sort)
        table.add(sort, len(found), str(share(found)), doubted, false)
    return table
