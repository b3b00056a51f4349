"""Bursts with a network in the step: the same samples as the Concealer's."""

import math
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("onnx")

import plc
from plc import Concealer
from plc.audio.files import read_audio
from plc.audio.loss import GilbertElliott
from plc.embed.models import model_file
from plc.engine import methods
from plc.models.catalogue import find
from plc_kernels.stream import entry, layout, network
from plc_kernels.stream import model as of
from plc_kernels.stream.step import GOES_ON, WANTS_FILL
from tests.kernels.stream.blocks import Stream, opened, settings_of
from tests.kernels.test_allocation import assert_allocates_nothing

SECONDS = 2.5
LOSS = GilbertElliott(0.25, 2.5)


def model(name: str) -> NDArray[np.int64]:
    data = model_file(find(name))
    assert data is not None
    block = opened(data)
    assert block is not None
    return block


@pytest.fixture(scope="module")
def models() -> dict[str, NDArray[np.int64]]:
    return {name: model(name) for name in ("speech", "speech-narrowband")}


def speech(rate: int, channels: int) -> NDArray[np.float32]:
    """Return speech, shape (n, channels): of 16 kHz, also where the rate is another."""
    signal, recorded = read_audio(Path(plc.__file__).parent / "data" / "speech.flac")
    one = signal[: int(SECONDS * recorded), 0]
    one = np.repeat(one, rate // recorded) if rate >= recorded else one[:: recorded // rate]
    return np.stack([one, 0.5 * one[::-1]][:channels], 1)


@pytest.mark.parametrize(
    ("rate", "channels", "packet", "lookahead", "name"),
    [
        (16_000, 1, 320, 0, "speech"),
        (16_000, 2, 160, 1, "speech"),
        (48_000, 1, 480, 0, "speech"),
        (8_000, 1, 160, 0, "speech-narrowband"),
    ],
)
def test_samples_and_counters_are_those_of_the_concealer(
    rate: int,
    channels: int,
    packet: int,
    lookahead: int,
    name: str,
    models: dict[str, NDArray[np.int64]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # The Concealer's own choice is music's network for music, and a bridge's with lookahead.
    monkeypatch.setattr(methods, "stream_models", lambda *_: ({"speech": find(name)}, {}))
    concealer = Concealer(rate, channels, packet, lookahead, budget_ms=math.inf, prepare="never")
    settings = settings_of(rate, channels, packet, lookahead)
    stream = Stream(settings, models[name])
    signal = speech(rate, channels)
    lost = LOSS.trace(len(signal) // packet, 3)
    for k, gone in enumerate(lost):
        given = None if gone else signal[k * packet : (k + 1) * packet]
        expected = concealer.push(given)
        np.testing.assert_array_equal(stream.push(given), expected, err_msg=f"packet {k}")
        if k == lost.size // 2:
            stream.move()
    served = concealer.stats.rung_samples[f"network:{name}"]
    assert served > 0
    assert stream.block[layout.RUNG_SAMPLES + entry.NETWORK_PLACE] == served
    assert stream.guarded


def test_a_model_is_for_its_rates(models: dict[str, NDArray[np.int64]]) -> None:
    for name, rate, fits in (
        ("speech", 16_000, True),
        ("speech", 15_999, False),
        ("speech-narrowband", 15_999, True),
        ("speech-narrowband", 16_000, False),
    ):
        settings = settings_of(rate)
        settings[7] = models[name].ctypes.data
        header = np.zeros(layout.HEADER, np.int64)
        assert (entry.prepare(settings, header) > 0) == fits


@pytest.mark.parametrize(
    ("word", "value"), [(of.BIN_HZ, 400.0), (of.HORIZON_MS, 900.0), (of.FRAMES, 800)]
)
def test_a_model_whose_gap_does_not_fit_its_frames_serves_no_rate(
    word: int, value: float, models: dict[str, NDArray[np.int64]]
) -> None:
    model = models["speech"].copy()
    model[word : word + 1] = value if word == of.FRAMES else np.array([value]).view(np.int64)
    settings = settings_of(16_000)
    settings[7] = model.ctypes.data
    assert entry.prepare(settings, np.zeros(layout.HEADER, np.int64)) == 0


def test_a_network_that_exceeds_the_limit_of_work_is_not_used(
    models: dict[str, NDArray[np.int64]],
) -> None:
    sizes = []
    for limit in (0, 10**8, 10**7):
        settings, header = settings_of(packet=320), np.zeros(layout.HEADER, np.int64)
        settings[7:9] = models["speech"].ctypes.data, limit
        sizes.append(entry.prepare(settings, header))
        assert header[layout.NETWORK] == (limit != 10**7)
    assert sizes[0] == sizes[1] > sizes[2] > 0


def test_a_stream_without_a_network_is_left_as_it_is() -> None:
    stream = Stream(settings_of(packet=320))
    for packet in speech(16_000, 1)[:16_000].reshape(50, 320):
        stream.push(packet[:, None])
    stream.push(None)
    before = stream.block.copy()
    network.fill_part(stream.block, 0, GOES_ON | WANTS_FILL)
    np.testing.assert_array_equal(stream.block, before)


def test_a_block_has_its_size_and_its_checksum(models: dict[str, NDArray[np.int64]]) -> None:
    for words in models.values():
        assert words[of.MAGIC_AT] == of.MAGIC
        assert words[of.BYTES] == words.nbytes
        assert words[of.CHECKSUM] == words[of.CHECKSUM + 1 :].sum()
        places = words[of.PLAN_AT : of.WORDS]
        assert (places % 64 == 0).all()
        assert (np.diff(places) > 0).all()
        assert places[-1] < words.nbytes


def test_the_network_allocates_nothing(models: dict[str, NDArray[np.int64]]) -> None:
    stream = Stream(settings_of(packet=320), models["speech"])
    for packet in speech(16_000, 1)[:16_000].reshape(50, 320):
        stream.push(packet[:, None])
    stream.push(None)
    address = models["speech"].ctypes.data
    assert_allocates_nothing(network.fill_part, (stream.block, address, stream.flags))
