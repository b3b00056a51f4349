"""What one channel has lost is told by another that is alike, and by no other."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from plc import inpaint
from plc.engine.stream.samples import Packet
from plc.files.audio import read_audio
from plc.files.fill.signals import FillSettings
from plc.files.recordings import inpaint_file
from tests.signals import noise, tones

RATE = 16_000
SAMPLES = 2 * RATE
GAPS = [(6000, 6480), (15_000, 16_600), (25_000, 25_080)]


def alike() -> NDArray[np.float32]:
    """Return two channels of one source that nobody can predict, on different ways."""
    source = noise(1, SAMPLES)
    ways = ([0.0, 0.2, 0.5, -0.3], [0.4, 0.0, 0.1])
    channels = np.stack([np.convolve(source, way)[:SAMPLES] for way in ways], axis=1)
    own = np.stack([noise(seed, SAMPLES) for seed in (2, 3)], axis=1)
    return (0.3 * channels + 0.003 * own).astype(np.float32)


def snr_db(truth: Packet, filled: Packet, channel: int) -> float:
    lost = np.concatenate([np.arange(*gap) for gap in GAPS])
    error = (filled - truth)[lost, channel]
    return float(10 * np.log10(np.sum(truth[lost, channel] ** 2) / np.sum(error**2)))


@pytest.mark.parametrize("channel", [0, 1])
def test_a_channel_that_is_alike_tells_what_is_lost(channel: int) -> None:
    truth = alike()
    given = [(*gap, (channel,)) for gap in GAPS]
    guided = inpaint(truth, given, sample_rate=RATE, method="ar")
    alone = inpaint(truth, GAPS, sample_rate=RATE, method="ar")
    assert snr_db(truth, alone, channel) < 3.0
    assert snr_db(truth, guided, channel) > 12.0
    np.testing.assert_array_equal(guided[:, 1 - channel], truth[:, 1 - channel])


@pytest.mark.parametrize("quality", ["good", "fast"])
def test_a_channel_that_is_unlike_changes_nothing(quality: str) -> None:
    truth = np.stack([tones(1, RATE, SAMPLES), 0.3 * noise(2, SAMPLES)], axis=1)
    truth = truth.astype(np.float32)
    given = [(*gap, (0,)) for gap in GAPS]
    filled = inpaint(truth, given, sample_rate=RATE, method="ar", quality=quality)
    alone = inpaint(truth[:, 0], GAPS, sample_rate=RATE, method="ar", quality=quality)
    np.testing.assert_array_equal(filled[:, 0], alone)


def test_a_channel_that_is_lost_or_no_number_there_guides_nobody() -> None:
    truth = alike()
    alone = inpaint(truth[:, 0], GAPS[:1], sample_rate=RATE, method="ar")
    other = (GAPS[0][1] - 1, GAPS[0][1] + 90, (1,))
    both = [(*GAPS[0], (0,)), other]
    np.testing.assert_array_equal(inpaint(truth, both, sample_rate=RATE, method="ar")[:, 0], alone)


@pytest.mark.parametrize("silent", [0, 1])
def test_a_silent_channel_makes_no_fault(silent: int) -> None:
    truth = alike()
    truth[:, silent] = 0.0
    filled = inpaint(truth, [(*GAPS[0], (0,))], sample_rate=RATE, method="ar")
    assert np.isfinite(filled).all()
    np.testing.assert_array_equal(filled[:, 1], truth[:, 1])


def test_two_channels_that_are_the_same_mend_each_other() -> None:
    truth = np.repeat(alike()[:, :1], 2, axis=1)
    filled = inpaint(truth, [(*gap, (0,)) for gap in GAPS], sample_rate=RATE, method="ar")
    assert snr_db(truth, filled, 0) > 40.0


def test_a_file_is_guided_as_an_array_is(tmp_path: Path) -> None:
    source, target = tmp_path / "a.wav", tmp_path / "b.wav"
    truth = np.tile(alike(), (3, 1))
    soundfile.write(source, truth, RATE, subtype="FLOAT")
    # The other channel is lost shortly before a gap and shortly behind another.
    given = [
        (40_000, 40_480, (0,)),
        (38_500, 38_700, (1,)),
        (60_000, 60_160, (0,)),
        (61_500, 61_900, (1,)),
    ]
    given_s = [(start / RATE, stop / RATE, where) for start, stop, where in given]
    inpaint_file(source, target, given_s, settings=FillSettings(method="ar"))
    expected = inpaint(truth, given, sample_rate=RATE, method="ar")
    np.testing.assert_array_equal(read_audio(target)[0], expected)
    error = (expected - truth)[40_000:40_480, 0]
    assert np.sum(error**2) < 0.1 * np.sum(truth[40_000:40_480, 0] ** 2)
