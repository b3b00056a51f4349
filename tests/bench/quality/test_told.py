"""``plc bench detect content``: what streams under losses are taken for."""

from pathlib import Path

import numpy as np
import soundfile

from plc.files.fill.signal_background import Background
from plc_bench.base.corpus import find_named_clips
from plc_bench.quality.conditions import Condition
from plc_bench.quality.told import FIRST_S, hear, score_clip, told_table
from tests.plc.engine.stream.test_step import syllables
from tests.signals import tones

RATE = 16_000


def test_a_background_hears_received_packets_alone() -> None:
    signal = syllables(1, RATE, 4 * RATE)[:, None]
    trace = np.arange(200) % 4 == 3
    spoilt = signal.copy()
    spoilt[np.repeat(trace, 320)] = 9.0
    heard = [Background(1, RATE, 0) for _ in range(2)]
    for background, stream in zip(heard, (signal, spoilt), strict=True):
        assert list(hear(background, stream, trace, 320)) == list(range(200))
    assert heard[0].inputs.any()
    np.testing.assert_array_equal(heard[0].inputs, heard[1].inputs)


def test_a_voice_is_told_from_tones(tmp_path: Path) -> None:
    for name, signal in (
        ("speech", syllables(2, RATE, 6 * RATE)),
        ("music", tones(3, RATE, 6 * RATE)),
    ):
        (tmp_path / name).mkdir()
        soundfile.write(tmp_path / name / "clip.wav", signal, RATE)
    conditions = [Condition(loss=0.3, packet_ms=20.0), Condition()]
    clips = find_named_clips([tmp_path])
    told = [each for clip in clips for each in score_clip(clip, conditions, RATE)]
    assert len(told) == 4
    for each in told:
        assert each.bursts > 10
        share = each.speech / each.bursts
        assert share > 0.9 if each.domain == "speech" else share == 0.0
    assert len(told_table(told).rows) == 4


def test_bursts_that_begin_early_do_not_count(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "clip.wav", tones(4, RATE, round(FIRST_S * RATE)), RATE)
    (clip,) = find_named_clips([tmp_path])
    told = score_clip(clip, [Condition(loss=0.4)], RATE)
    assert told[0].bursts == 0
    assert len(told_table(told).rows) == 0
