from dataclasses import replace
from pathlib import Path

import pytest
import soundfile

from plc import Finding
from plc.programs.cli.app import app
from plc_bench.base.corpus import find_named_clips
from plc_bench.restore.harmless import (
    MOST_CHANGED,
    changed_share,
    clips_table,
    harmed,
    kinds_table,
    score_clip,
    score_kind,
)
from plc_bench.restore.kinds import UNDAMAGED
from tests.options import ran
from tests.signals import tones

RATE = 16_000
# Kinds that were spoiled longest, or by another search than that of holes.
OFTEN = (
    "Geiger counter in noise",
    "fireworks",
    "constant levels, 200 ms each",
    "samples held eight times",
    "music of 4 bits",
    "pizzicato",
    "square wave 441 Hz",
    "gated at random",
    "gated at random, short cuts",
    "noise gated at random",
    "transformer scratch",
    "sixty-fourths at random",
    "applause",
    "crackling fire",
    "telegraph sounder",
    "stutter of 80 ms, drawn",
    "stutter of 20 ms, drawn",
    "speech behind a hard gate",
    "speech behind a noise gate",
    "drums of one bit",
    "voice over beeps",
)


# Of these more is changed, as nothing tells them from damage; an entry may fall.
MORE_CHANGED = {
    "glitch music": 0.066,
    "samples that cut each other off, in time": 0.029,
    "voice with bleeps": 0.047,
}


def most_changed(kind: str) -> float:
    """Return the share of a kind that a repair may change."""
    return MORE_CHANGED.get(kind, MOST_CHANGED)


# Takes as long as ten others; "square wave 441 Hz" stands for it.
LONG = "square wave 55 Hz"


def marks_of(number: int, kind: str) -> list[pytest.MarkDecorator]:
    is_short = kind in OFTEN or (number % 9 == 0 and kind != LONG)
    return [] if is_short else [pytest.mark.deep]


KINDS = [pytest.param(kind, marks=marks_of(number, kind)) for number, kind in enumerate(UNDAMAGED)]


@pytest.mark.parametrize("kind", KINDS)
def test_a_repair_changes_at_most_one_per_cent_of_an_undamaged_kind(kind: str) -> None:
    harm = score_kind(kind, RATE)
    assert harm.changed <= most_changed(kind), harm


@pytest.mark.deep
@pytest.mark.parametrize("kind", UNDAMAGED)
def test_so_it_does_at_a_high_rate(kind: str) -> None:
    harm = score_kind(kind, 48_000)
    assert harm.changed <= most_changed(kind), harm


FIRST, LAST = (list(UNDAMAGED).index(kind) for kind in ("gated at random", "mute button"))


@pytest.mark.deep
@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("kind", list(UNDAMAGED)[FIRST : LAST + 1])
def test_so_it_does_whatever_is_drawn(kind: str, seed: int) -> None:
    harm = score_kind(kind, RATE, seed)
    assert harm.changed <= most_changed(kind), harm


def test_a_filled_place_counts_in_its_channels_alone() -> None:
    found = Finding(start=0, stop=50, kind="silence", confidence=1.0, channels=(1,))
    assert changed_share([found], 100, 2) == 0.25


def test_clips_are_counted_by_domain(tmp_path: Path) -> None:
    holed = tones(1, RATE, 4 * RATE)
    whole = holed.copy()
    holed[20_000:20_500] = 0.0
    for name, signal in (("music_a.wav", holed), ("music_b.wav", whole)):
        soundfile.write(tmp_path / name, signal, RATE)
    scores = [score_clip(clip) for clip in find_named_clips([tmp_path])]
    assert [each.filled for each in scores] == [("silence",), ()]
    assert harmed(scores) == []
    assert len(clips_table(scores).rows) == 2


def test_harmed_kinds_are_named() -> None:
    harm = score_kind("clean music", RATE)
    worse = replace(harm, changed=0.02)
    scores = [harm, worse]
    assert harmed(scores) == [harm.name]
    assert "1 changed" in str(kinds_table(scores).title)


def test_the_command_needs_clips_or_undamaged() -> None:
    result = ran(app, "bench", "detect", "damage", status=1)
    assert "--undamaged" in result.output
