from pathlib import Path

import numpy as np
import pytest
import soundfile

from plc.programs.cli.app import app
from plc_bench.base.corpus import find_named_clips
from plc_bench.restore.seams import SORTS, score_seams, seamed, seams_table
from tests.options import ran
from tests.signals import glide

RATE = 32_000


def sound(seconds: float = 6.0) -> np.ndarray:
    samples = round(seconds * RATE)
    noise = np.random.default_rng(3).standard_normal(samples)
    return (glide(4, RATE, samples) + 0.02 * noise).astype(np.float32)


@pytest.mark.parametrize("name", SORTS)
def test_a_clip_with_seams_differs_from_the_clip_at_them_alone(name: str) -> None:
    clip, sort = sound(), SORTS[name]
    broken, damage = seamed(clip, RATE, sort, 5)
    assert len(damage) >= 3
    kept = np.ones(broken.size, np.bool_)
    for each in damage:
        assert each.kind == sort.kind
        if sort.kind != "click":
            kept[each.start : each.stop] = False
    if sort.container == "mp3":
        assert np.array_equal(broken[kept], clip[kept])
    elif sort.kind == "click":
        assert broken.size < clip.size
    else:
        assert np.array_equal(broken[kept], clip)
    if sort.kind == "repeat":
        for each in damage:
            length = each.stop - each.start
            block = broken[each.start : each.stop]
            assert np.array_equal(block, broken[each.start - length : each.start])
    apart = np.diff([each.start for each in damage])
    assert (np.ptp(apart) <= 1) == sort.regular


def test_most_blocks_said_again_are_found_at_equal_and_at_drawn_distances(tmp_path: Path) -> None:
    path = tmp_path / "music_a.wav"
    soundfile.write(path, sound(12.0), RATE)
    clip = find_named_clips([path])[0]
    for name in ("block said again, drawn", "block said again, regular"):
        scores = score_seams((name, clip))
        assert sum(scores.found) >= 0.85 * len(scores.found)
        assert not scores.false
        assert not any(scores.doubted)
    assert len(seams_table([scores]).rows) == len(SORTS)


def test_the_command_shows_a_row_for_each_sort(tmp_path: Path) -> None:
    path = tmp_path / "music_a.wav"
    soundfile.write(path, sound(3.0), RATE)
    arguments = ["bench", "detect", "damage", str(path), "--seams"]
    result = ran(app, *arguments)
    assert "block said again" in result.output
