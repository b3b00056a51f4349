from pathlib import Path

import numpy as np
import pytest
import soundfile

from plc import Finding
from plc_bench.base.corpus import find_named_clips
from plc_bench.restore.damage import CONTAINERS, KINDS, Damage, damaged, through
from plc_bench.restore.study import (
    SAMPLE_RATES,
    Share,
    conditions,
    covers,
    is_true,
    result_tables,
    score_clip,
)
from tests.signals import glide, tones

RATE = 44_100


def found(start: int, stop: int) -> Finding:
    return Finding(start=start, stop=stop, kind="silence", confidence=1.0, channels=(0,))


def test_damage_changes_the_clip_where_it_says_and_nowhere_else() -> None:
    signal = glide(1, RATE, 12 * RATE)
    broken, damage = damaged(signal, RATE, KINDS, 1)
    assert {each.kind for each in damage} == set(KINDS)
    touched = np.zeros(signal.size, bool)
    for each in damage:
        touched[each.start : each.stop] = True
        assert (broken[each.start : each.stop] != signal[each.start : each.stop]).any()
    np.testing.assert_array_equal(broken[~touched], signal[~touched])
    again, same = damaged(signal, RATE, KINDS, 1)
    assert same == damage
    np.testing.assert_array_equal(again, broken)
    assert damaged(signal, RATE, KINDS, 2)[1] != damage


def test_silence_is_not_damaged() -> None:
    assert damaged(np.zeros(10 * RATE, np.float32), RATE, KINDS, 1)[1] == []


@pytest.mark.parametrize("container", sorted(CONTAINERS))
def test_a_container_keeps_length_and_place(container: str) -> None:
    rate = 48_000
    signal = 0.5 * tones(1, rate, 2 * rate)
    heard = through(container, signal, rate)
    assert heard.shape == signal.shape
    error = np.sum((heard - signal) ** 2) / np.sum(signal**2)
    assert error < 0.1


def test_true_is_what_half_lies_in_damage() -> None:
    damage = [Damage(10_000, 11_000, "silence", 20.0)]
    assert is_true(found(10_000, 11_000), damage, RATE)
    assert is_true(found(10_400, 10_500), damage, RATE)
    assert not is_true(found(9_000, 9_800), damage, RATE)
    assert not is_true(found(10_500, 13_000), damage, RATE)
    assert covers(10_300, 10_900, damage[0], RATE)
    assert not covers(10_300, 10_500, damage[0], RATE)
    assert not covers(7_000, 11_000, damage[0], RATE)


def test_intervals_are_wilsons() -> None:
    low, high = Share(95, 100).interval
    assert (low, high) == pytest.approx((0.8882, 0.9785), abs=1e-4)
    assert Share(0, 0).interval == (0.0, 1.0)
    assert str(Share(0, 0)) == "-"


def test_containers_and_rates_take_turns() -> None:
    tried = {one for number in range(20) for one in conditions(number)}
    every = {(container, rate) for container in CONTAINERS for rate in SAMPLE_RATES}
    assert tried == every - {("opus", 44_100)}


def test_a_study_of_a_clip_counts_damage_and_false_findings(tmp_path: Path) -> None:
    signal = glide(1, RATE, 5 * RATE)
    soundfile.write(tmp_path / "clip.wav", signal, RATE, subtype="FLOAT")
    (clip,) = find_named_clips([tmp_path])
    scores = score_clip((0, clip))
    assert [(file.container, file.sample_rate) for file in scores] == conditions(0)
    file = scores[0]
    assert file.places
    assert len(file.findings) >= sum(place.found for place in file.places) > 0
    assert [len(table.rows) > 0 for table in result_tables(scores)] == [True] * 3
