"""Damaged samples beside gaps."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from plc import inpaint
from plc.files.fill.damaged_edges import intact_part, widen
from plc.files.fill.gaps import Gap, merge_gaps
from plc.files.fill.signals import FillSettings
from plc.files.recordings import inpaint_file
from plc_kernels.signal.edges import EDGE_SAMPLES
from tests.examples import some
from tests.signals import noise, tones, voice

RATE = 16_000
GAPS = [(4000, 4160), (9000, 9320)]


def damaged(
    signal: NDArray[np.float32], samples: int, behind: bool, value: float
) -> NDArray[np.float32]:
    """Return a signal whose samples before or behind the gaps have a value."""
    out = signal.copy()
    for start, stop in GAPS:
        out[stop : stop + samples] = value if behind else out[stop : stop + samples]
        out[start - samples : start] = out[start - samples : start] if behind else value
    return out


@some("behind", [False, True], 2)
@some("value", [0.0, 1.0, -1.0], 2)
@some("samples", [1, 2, 4, 8], 2)
def test_muted_and_clipped_samples_beside_a_gap_count_as_lost(
    samples: int, value: float, behind: bool
) -> None:
    signal = voice(RATE, 1.0, 180.0, 0.8) + np.float32(0.01)
    broken = damaged(signal, samples, behind, value)
    for wide, (start, stop) in zip(widen(broken, merge_gaps(GAPS, RATE), RATE), GAPS, strict=True):
        # A sample that would have been nearly zero anyway is no harm where it stays.
        beside = signal[stop : stop + samples] if behind else signal[start - samples : start]
        left = beside[wide.stop - stop :] if behind else beside[: wide.start - start + samples]
        assert np.abs(left - value).max(initial=0.0) < 0.1 * np.abs(signal).max()
        assert (wide.start, wide.stop)[not behind] == (start, stop)[not behind]
        assert wide.samples > stop - start


def test_an_isolated_jump_counts_as_lost() -> None:
    signal = tones(1, RATE, RATE)
    signal[3995] += np.float32(0.5)
    [first, second] = widen(signal, merge_gaps(GAPS, RATE), RATE)
    assert first.span == (3995, 4160)
    assert second.span == GAPS[1]


@pytest.mark.parametrize("dtype", [np.float32, np.int16])
@pytest.mark.parametrize("channels", [1, 2])
def test_intact_edges_stay_as_they_are(dtype: type, channels: int) -> None:
    lines = [tones(1, RATE, RATE), 0.1 * noise(3, RATE), voice(RATE, 1.0, 120.0, 0.9)]
    gaps = [(k, k + 160) for k in range(500, RATE - 500, 400)]
    for line in lines:
        signal = np.repeat(np.clip(line, -0.9, 0.9)[:, None], channels, axis=1)
        if dtype is np.int16:
            signal = np.rint(signal * 32767)
        merged = merge_gaps(gaps, RATE)
        assert widen(signal.astype(dtype), merged, RATE) == merged


def test_silence_and_short_stretches_are_left_alone() -> None:
    assert intact_part(np.zeros(RATE, np.float32), 0, RATE, RATE, (True, True)) == (0, RATE)
    broken = tones(1, RATE, RATE)
    broken[:4] = 1.0
    assert intact_part(broken, 0, 100, RATE, (True, True)) == (0, 100)
    assert intact_part(broken, 0, 400, RATE, (True, True)) == (4, 400)
    assert intact_part(broken, 0, 400, RATE, (False, True)) == (0, 400)
    assert widen(broken, [], RATE) == []


def test_no_more_than_a_few_samples_are_given_up() -> None:
    signal = tones(1, RATE, RATE)
    signal[3000:4000] = 0.0  # that is no damage beside a gap but silence
    signal[9320 : 9320 + EDGE_SAMPLES] = 0.0
    wide = widen(signal, merge_gaps(GAPS, RATE), RATE)
    assert wide == [Gap(4000, 4160, 9000), Gap(9000, 9320 + EDGE_SAMPLES, RATE)]


def test_a_fill_next_to_a_muted_sample_is_as_good_as_without() -> None:
    signal = tones(4, RATE, RATE)
    outside = np.ones(RATE, bool)
    for start, stop in GAPS:
        outside[start:stop] = False
    errors = []
    for given in (signal, damaged(signal, 2, False, 0.0)):
        filled = inpaint(given, GAPS, sample_rate=RATE, model="ar")
        errors.append(float(np.sum((filled - signal)[3990:4200] ** 2)))
    assert errors[1] < 1.5 * errors[0] + 1e-3 * float(np.sum(signal[3990:4200] ** 2))
    np.testing.assert_array_equal(
        inpaint(signal, GAPS, sample_rate=RATE, model="ar")[outside], signal[outside]
    )


def test_damaged_samples_of_a_file_are_counted(tmp_path: Path) -> None:
    signal = tones(1, RATE, RATE)
    broken = damaged(signal, 4, True, 1.0)
    source, target = tmp_path / "in.wav", tmp_path / "out.wav"
    soundfile.write(source, broken, RATE, subtype="FLOAT")
    report = inpaint_file(
        source, target, [(a / RATE, b / RATE) for a, b in GAPS], settings=FillSettings(model="ar")
    )
    assert report.damaged_samples == report.as_dict()["damaged_samples"] == 8
    assert report.gaps == tuple((a, b + 4) for a, b in GAPS)
    heard = soundfile.read(target, dtype="float32")[0]
    np.testing.assert_allclose(
        heard, inpaint(broken, GAPS, sample_rate=RATE, model="ar"), atol=2e-3
    )
    assert np.abs(heard).max() < 0.99
