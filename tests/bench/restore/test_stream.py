"""``plc bench detect dropouts``: streams damaged on purpose."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from plc.engine.stream.config import StreamConfig
from plc.errors import ConfigError
from plc_bench.base.corpus import find_named_clips
from plc_bench.restore.stream import (
    StreamDetectSettings,
    found_in,
    gated,
    score_clip,
    stream_tables,
)
from tests.signals import glide, noise, voice

RATE = 16_000


def test_settings_are_checked_and_take_turns() -> None:
    with pytest.raises(ConfigError, match="at least one"):
        StreamDetectSettings(packet_ms=())
    with pytest.raises(ConfigError, match="500"):
        StreamDetectSettings(packet_ms=(500.0,))
    settings = StreamDetectSettings(packet_ms=(10.0, 20.0), sample_rates=(16_000, 48_000))
    tried = [settings.condition(number) for number in range(4)]
    assert len(set(tried)) == 4


def test_a_gate_leaves_sound_and_makes_pauses_silent() -> None:
    signal = noise(1, 2 * RATE)
    signal[RATE : RATE + RATE // 2] *= 0.001
    through = gated(signal, RATE)
    np.testing.assert_array_equal(through[:RATE], signal[:RATE])
    pause = through[RATE : RATE + RATE // 2]
    assert pause[: RATE // 25].any()
    assert not pause[RATE // 10 : -RATE // 100].any()
    assert through[-RATE // 4 :].any()


def test_dropouts_are_where_the_sound_is_cut_off() -> None:
    signal = noise(2, 2 * RATE)
    signal[RATE : RATE + 300] = 0.0
    config = StreamConfig(sample_rate=RATE, packet_samples=160)
    assert found_in(signal, config) == [(RATE, RATE + 300)]


def test_a_study_counts_places_findings_and_gains(tmp_path: Path) -> None:
    signal = glide(3, RATE, 6 * RATE)
    soundfile.write(tmp_path / "clip.wav", signal, RATE, subtype="FLOAT")
    settings = StreamDetectSettings(packet_ms=(10.0,), sample_rates=(RATE,), method="ar")
    (found,) = find_named_clips([tmp_path])
    clip = score_clip((0, found), settings)
    assert {kind for kind, _, _ in clip.places} == {"silence", "repeat"}
    assert sum(found for *_, found in clip.places) > len(clip.places) / 2
    assert all(clip.findings)
    assert clip.false == 0
    as_it_came, concealed = clip.nmse_db
    assert concealed < as_it_came - 1.0
    assert [len(table.rows) > 0 for table in stream_tables([clip])] == [True, True]


def test_findings_alone_need_no_concealer(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "clip.wav", voice(RATE, 4.0, 140.0, 3.0), RATE)
    settings = StreamDetectSettings(packet_ms=(20.0,), sample_rates=(RATE,), method="none")
    (found,) = find_named_clips([tmp_path])
    clip = score_clip((0, found), settings)
    assert (clip.nmse_db, clip.plcmos, clip.false) == ((), (), 0)
