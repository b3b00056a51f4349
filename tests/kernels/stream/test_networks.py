"""Bursts with a network in the step: the same samples as the Concealer's."""

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import plc
from plc import Concealer
from plc.embed.models import model_file
from plc.engine.loss import GilbertElliott
from plc.engine.models.catalogue import find
from plc.engine.models.manifest import Manifest
from plc.engine.stream import methods
from plc.files.audio import read_audio
from plc_kernels.stream import bridge, entry, gap, layout, networks
from plc_kernels.stream import model as of
from plc_kernels.stream.layout import BRIDGE_NET, SPEECH_NET
from plc_kernels.stream.step import GOES_ON, WANTS_FILL
from tests.examples import some
from tests.kernels.memory import assert_allocates_nothing
from tests.kernels.stream.blocks import Stream, opened, settings_of

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
    return {name: model(name) for name in ("speech", "speech-narrowband", "speech-bridge", "music")}


def there(header: NDArray[np.int64], net: int) -> bool:
    return bool(header[net + gap.FILE_AT] >= 0)


def speech(rate: int, channels: int) -> NDArray[np.float32]:
    """Return speech, shape (n, channels): of 16 kHz, also where the rate is another."""
    signal, recorded = read_audio(Path(plc.__file__).parent / "data" / "speech.flac")
    one = signal[: int(SECONDS * recorded), 0]
    one = np.repeat(one, rate // recorded) if rate >= recorded else one[:: recorded // rate]
    return np.stack([one, 0.5 * one[::-1]][:channels], 1)


def music(rate: int, channels: int) -> NDArray[np.float32]:
    """Return music, shape (n, channels)."""
    signal, recorded = read_audio(Path(plc.__file__).parent / "data" / "music.flac")
    one = signal[: int(SECONDS * recorded) : recorded // rate, 0]
    return np.stack([one, 0.5 * one[::-1]][:channels], 1)


CASES = [
    # Sample rate, channels, samples of a packet, packets of lookahead, sound, networks.
    (16_000, 2, 160, 1, speech, ("speech",)),
    (8_000, 1, 160, 0, speech, ("speech-narrowband",)),
    (16_000, 1, 320, 1, speech, ("speech", "speech-bridge")),
    (48_000, 2, 480, 0, music, ("speech", "music")),
    (48_000, 1, 960, 1, music, ("speech", "music", "speech-bridge")),
    (16_000, 1, 320, 0, speech, ("speech",)),
    (48_000, 1, 480, 0, speech, ("speech",)),
    (16_000, 2, 160, 3, speech, ("speech", "speech-bridge")),
    (48_000, 1, 960, 2, speech, ("speech", "speech-bridge")),
    (8_000, 1, 160, 1, speech, ("speech-narrowband", "speech-bridge")),
    (22_050, 1, 441, 2, speech, ("speech-bridge",)),
    (16_000, 1, 160, 0, speech, ("music",)),
    (48_000, 1, 480, 0, music, ("music",)),
]


@some("rate, channels, packet, lookahead, sound, names", CASES, 5)
def test_samples_and_counters_are_those_of_the_concealer(
    rate: int,
    channels: int,
    packet: int,
    lookahead: int,
    sound: Callable[[int, int], NDArray[np.float32]],
    names: tuple[str, ...],
    models: dict[str, NDArray[np.int64]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    by_kind: dict[str, dict[str, Manifest]] = {"causal": {}, "bridge": {}}
    for name in names:
        by_kind[find(name).kind][find(name).content] = find(name)
    if "music" in names:
        by_kind["causal"].setdefault("speech", find("music"))
    monkeypatch.setattr(methods, "stream_models", lambda *_: (*by_kind.values(),))
    concealer = Concealer(rate, channels, packet, lookahead, budget_ms=math.inf, prepare="never")
    settings = settings_of(rate, channels, packet, lookahead)
    other = "speech-narrowband" if rate >= 16_000 else "speech"  # is passed over
    stream = Stream(settings, np.concatenate([models[name] for name in (other, *names)]))
    signal = sound(rate, channels)
    lost = LOSS.trace(len(signal) // packet, 3)
    for k, gone in enumerate(lost):
        given = None if gone else signal[k * packet : (k + 1) * packet]
        missing = ((20, 60), (packet - 40, packet)) if not gone and k % 11 == 5 else ()
        expected = concealer.push(given, missing=missing)
        played = stream.push(given, missing)
        np.testing.assert_array_equal(played, expected, err_msg=f"packet {k}")
        if k == lost.size // 2:
            stream.move()
    served = sum(concealer.stats.rung_samples[f"network:{name}"] for name in names)
    made_for = "music" if sound is music else names[-1]
    assert concealer.stats.rung_samples[f"network:{made_for}"] > 0
    places = slice(layout.RUNG_SAMPLES + entry.NETWORK_PLACE, layout.LADDER)
    assert stream.block[places].sum() == served
    assert stream.guarded


def test_a_model_is_for_its_rates(models: dict[str, NDArray[np.int64]]) -> None:
    for name, rate, fits in (
        ("speech", 16_000, True),
        ("speech", 15_999, False),
        ("speech-narrowband", 15_999, True),
        ("speech-narrowband", 16_000, False),
        ("speech-bridge", 48_000, True),
        ("speech-bridge", 96_000, False),
        ("music", 15_999, False),
        ("music", 192_000, True),
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


@pytest.mark.parametrize(
    ("packet", "lookahead", "taken"),
    [(320, 1, True), (320, 0, True), (95, 2, True), (640, 1, True), (641, 1, False)],
)
def test_a_network_for_bridges_is_one_for_fitting_packets(
    packet: int, lookahead: int, taken: bool, models: dict[str, NDArray[np.int64]]
) -> None:
    header = np.zeros(layout.HEADER, np.int64)
    settings = settings_of(packet=packet, lookahead=lookahead)
    settings[7] = models["speech-bridge"].ctypes.data
    assert entry.prepare(settings, header) > 0
    assert header[layout.NETWORK] == taken


def test_the_dearer_network_is_left_out_first(models: dict[str, NDArray[np.int64]]) -> None:
    both = np.concatenate([models["speech-bridge"], models["speech"]])
    dearest = max(int(models[name][of.OPERATIONS]) for name in ("speech", "speech-bridge"))
    taken = []
    for limit in (0, dearest, 10**7):
        header = np.zeros(layout.HEADER, np.int64)
        settings = settings_of(packet=320, lookahead=1)
        settings[[7, 8, 10]] = both.ctypes.data, limit, both.nbytes
        assert entry.prepare(settings, header) > 0
        taken.append((there(header, SPEECH_NET), there(header, BRIDGE_NET)))
    assert taken == [(True, True), (True, False), (False, False)]


def test_what_follows_a_network_has_to_be_one(models: dict[str, NDArray[np.int64]]) -> None:
    spoilt = np.concatenate([models["speech"], np.zeros(64, np.int64)])
    settings = settings_of(packet=320)
    settings[[7, 10]] = spoilt.ctypes.data, spoilt.nbytes
    assert entry.prepare(settings, np.zeros(layout.HEADER, np.int64)) == 0


def test_a_stream_without_a_network_is_left_as_it_is() -> None:
    stream = Stream(settings_of(packet=320))
    for packet in speech(16_000, 1)[:16_000].reshape(50, 320):
        stream.push(packet[:, None])
    stream.push(None)
    before = stream.block.copy()
    networks.fill_part(stream.block, 0, GOES_ON | WANTS_FILL)
    np.testing.assert_array_equal(stream.block, before)


def test_a_block_has_its_size_and_its_checksum(models: dict[str, NDArray[np.int64]]) -> None:
    for words in models.values():
        assert words[of.MAGIC_AT] == of.MAGIC
        assert words[of.BYTES] == words.nbytes
        assert words[of.CHECKSUM] == words[of.CHECKSUM + 1 :].sum()
        places = words[of.PLAN_AT : of.WORDS]
        assert (places % 64 == 0).all()
        assert (np.diff(places) >= 0).all()  # for music nothing expects a contour
        assert places[-1] <= words.nbytes


@pytest.mark.parametrize("lookahead", [0, 1])
def test_the_networks_allocate_nothing(
    lookahead: int, models: dict[str, NDArray[np.int64]]
) -> None:
    both = np.concatenate([models["speech"], models["speech-bridge"]])
    stream = Stream(settings_of(packet=320, lookahead=lookahead), both)
    packets = speech(16_000, 1)[:16_000].reshape(50, 320)
    for packet in packets:
        stream.push(packet[:, None])
    stream.push(None)
    stream.push(packets[0][:, None])
    assert (stream.block[bridge.BRIDGED_BY] == 1) == (lookahead == 1)
    assert_allocates_nothing(networks.fill_part, (stream.block, both.ctypes.data, stream.flags))
