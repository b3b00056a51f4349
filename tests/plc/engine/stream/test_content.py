"""``content``: a stream that is told what it plays."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from plc import Concealer, ConcealerPool, conceal, inpaint
from plc.engine.stream.config import StreamConfig
from plc.engine.stream.methods import make_method, stream_models
from plc.errors import ConfigError
from plc.transport.cli.options import ReceiverOptions
from plc_kernels.signal.content import LOGIT
from plc_kernels.stream.background import TOLD, is_speech
from plc_kernels.stream.layout import (
    CONTENT_COUNTS,
    CONTENT_NUMBERS,
    NO_SPEECH,
    RECORD,
    REHEARSALS,
    REHEARSED_AT,
    SPEECH,
    TABLE,
    UNSTEADY,
)
from tests.kernels.stream.test_networks import speech
from tests.signals import noise, tones

RATE = 48_000
SERVED = {
    "auto": {"speech", "music", "speech, bridged"},
    "music": {"music"},
    "speech": {"speech", "speech, bridged"},
}


def rung_samples(content: Any, signal: NDArray[np.float32], **settings: Any) -> dict[str, int]:
    """Return what concealed a stream of which two of ten packets are lost."""
    stream = Concealer(RATE, budget_ms=np.inf, content=content, **settings)
    for k, packet in enumerate(signal[: 240 * 480].reshape(-1, 480)):
        stream.push(packet if k % 10 < 8 else None)
    return {name: count for name, count in stream.stats.rung_samples.items() if count}


@pytest.mark.parametrize("content", SERVED)
def test_networks_for_other_content_are_not_there(content: Any) -> None:
    stream = Concealer(RATE, lookahead=1, budget_ms=np.inf, content=content)
    assert stream.describe()["networks"].keys() == SERVED[content]


def test_speech_told_to_be_music_has_music_s_network_alone() -> None:
    names = rung_samples("music", speech(RATE, 1)[:, 0])
    assert "network:music" in names
    assert not {name for name in names if "speech" in name}


def test_music_told_to_be_speech_has_speech_s_network_alone() -> None:
    names = rung_samples("speech", tones(0, RATE, 240 * 480))
    assert "network:speech" in names
    assert not {name for name in names if "music" in name}


@pytest.mark.parametrize(("content", "is_speech"), [("music", 0), ("speech", 1)])
def test_nothing_is_listened_for(content: Any, is_speech: int) -> None:
    for signal in (speech(RATE, 1)[:, 0], tones(0, RATE, 240 * 480)):
        stream = Concealer(RATE, method="ar", content=content)
        stream.push(signal[:480])
        for packet in signal[480 : 100 * 480].reshape(-1, 480):
            stream.push(packet)
        stream.push(None)
        assert stream._block[[SPEECH, UNSTEADY]].tolist() == [is_speech, is_speech]


def test_speech_takes_half_the_memory() -> None:
    sizes = [Concealer(RATE, content=each)._block.nbytes for each in ("auto", "speech")]
    assert 2 * sizes[1] <= sizes[0]


@pytest.mark.parametrize(
    ("rate", "content", "models"),
    [
        (8_000, "music", {}),
        (8_000, "speech", {"speech": "speech-narrowband"}),
        (16_000, "music", {"music": "music"}),
        (192_000, "speech", {"speech": "music"}),  # where speech has none of its own
    ],
)
def test_a_rate_has_what_serves_its_content(
    rate: int, content: Any, models: dict[str, str]
) -> None:
    causal, _ = stream_models("auto", rate, content)
    assert {of: manifest.name for of, manifest in causal.items()} == models
    config = StreamConfig(sample_rate=rate, content=content, budget_ms=np.inf)
    names = make_method(config).step_networks
    chosen = {} if names is None else names.chosen
    assert {n for of, (n, _) in chosen.items() if "bridged" not in of} == {*models.values()}


def test_a_network_of_one_s_own_serves_whatever_is_told() -> None:
    names = rung_samples("music", tones(0, RATE, 240 * 480), model="speech")
    assert "network:speech" in names


def test_content_that_is_unknown_is_an_error() -> None:
    wrong: dict[str, Any] = {"content": "musik"}
    with pytest.raises(ConfigError, match="'music'"):
        Concealer(RATE, **wrong)
    with pytest.raises(ConfigError, match="'music'"):
        inpaint(np.zeros(9600, np.float32), [(4000, 4400)], **wrong)


def test_a_whole_signal_is_what_its_stream_plays() -> None:
    signal, lost = speech(RATE, 1)[: 100 * 480, 0], np.zeros(100, bool)
    lost[40:90:10] = True
    heard, told = (conceal(signal, lost, content=each) for each in ("auto", "music"))
    stream = Concealer(RATE, budget_ms=np.inf, prepare="never", content="music")
    packets = zip(signal.reshape(-1, 480), lost, strict=True)
    played = [stream.push(None if gone else packet) for packet, gone in packets]
    np.testing.assert_array_equal(told, np.concatenate(played)[:, 0])
    assert not np.array_equal(heard, told)


@pytest.mark.parametrize("content", ["music", "speech"])
def test_a_pool_s_stream_is_told_as_one_alone(content: Any) -> None:
    signal = speech(RATE, 1)[: 100 * 480].reshape(100, 1, 480, 1)
    how: dict[str, Any] = {"method": "auto", "content": content}
    pool = ConcealerPool(1)
    ids = pool.open(1, sample_rate=RATE, packet_samples=480, **how)
    stream = Concealer(RATE, budget_ms=np.inf, prepare="never", **how)
    for k, packets in enumerate(signal):
        arrived = np.array([k % 10 < 9])
        alone = stream.push(packets[0] if arrived[0] else None)
        np.testing.assert_array_equal(pool.push(ids, packets, arrived)[0], alone)


def test_the_commands_receivers_are_told() -> None:
    assert ReceiverOptions(content="music").config().stream.content == "music"
    assert ReceiverOptions().config().stream.content == "auto"


def droning(seconds: float, rate: int = RATE) -> NDArray[np.float32]:
    """Return formants that move as a voice's do, of one pitch that never moves, and hissing."""
    rng = np.random.default_rng(0)
    t = np.arange(round(seconds * rate)) / rate
    vowels = np.array([(700, 1200), (300, 2200), (350, 800), (500, 1800), (450, 900)])
    spoken = vowels[rng.integers(0, 5, int(seconds / 0.15) + 2)]
    formants = [np.interp(t / 0.15, np.arange(len(spoken)), row) for row in spoken.T]
    sound = np.zeros(t.size)
    for k in range(1, 45):
        heights = [np.exp(-np.abs(90 * k - formants[j]) / (120, 180)[j]) for j in (0, 1)]
        level = (heights[0] + 0.5 * heights[1] + 0.02) / np.sqrt(k)
        sound += level * np.sin(2 * np.pi * 90 * k * t + k * k)
    sound *= 0.5 + 0.5 * np.sin(np.pi * t / 0.15) ** 2
    hiss = np.diff(noise(0, t.size + 2), 2) * (t / 0.15 % 1 < 0.25)
    return np.asarray(0.3 * sound / np.abs(sound).max() + 0.2 * hiss, np.float32)


def received(signal: NDArray[np.float32], rate: int = RATE, **settings: Any) -> Concealer:
    """Return a stream that received a signal, but for every tenth packet."""
    stream = Concealer(rate, method="ar", packet_samples=rate // 100, **settings)
    for k, packet in enumerate(signal[: signal.size // 480 * 480].reshape(-1, rate // 100)):
        stream.push(None if k % 10 == 9 else packet)
    return stream


def test_what_music_s_prediction_foretells_far_better_is_no_speech() -> None:
    stream = received(droning(8.0))
    steady, unsteady = stream._memory.numbers[RECORD : RECORD + 2]
    assert TABLE.view(stream._block, CONTENT_NUMBERS)[LOGIT] > 0.0  # its network says speech
    assert 20 * np.log10(unsteady / steady) > 1.3
    assert stream._block[NO_SPEECH]
    assert not is_speech(stream._block)
    stream.push(None)
    assert stream._block[[SPEECH, UNSTEADY]].tolist() == [0, 0]


def test_a_record_of_speech_decides_nothing() -> None:
    stream = received(speech(RATE, 1)[:, 0])
    assert stream._block[REHEARSALS] > 10
    assert not stream._block[NO_SPEECH]
    assert is_speech(stream._block)


def test_rehearsals_are_few_and_their_record_is_bounded() -> None:
    stream = Concealer(RATE, method="ar")
    signal, times = speech(RATE, 1)[: 240 * 480, 0].reshape(-1, 480), []
    for k in range(8 * len(signal)):
        before = stream._block[REHEARSED_AT]
        stream.push(signal[k % len(signal)])
        if stream._block[REHEARSED_AT] != before:
            times.append(k)
    assert np.diff(times).min() >= 32
    assert np.diff(times)[30:].min() >= 400
    assert stream._block[REHEARSALS] == 40


def pushes_until_speech(stream: Concealer) -> int:
    """Return after how many packets of speech a stream takes it for speech."""
    for k, packet in enumerate(np.tile(speech(RATE, 1)[: 240 * 480, 0], 4).reshape(-1, 480)):
        if is_speech(stream._block):
            return k
        stream.push(packet)
    raise AssertionError("it takes speech for music throughout")


def test_speech_behind_what_was_no_speech_is_speech_within_seconds() -> None:
    stream = received(np.tile(droning(4.0), 6))
    assert stream._block[NO_SPEECH]
    assert stream._block[REHEARSALS] == 20
    assert pushes_until_speech(stream) < 1000


def test_a_record_begins_anew_where_content_s_network_finds_speech_again() -> None:
    stream = received(droning(8.0))
    told = TABLE.view(stream._block, CONTENT_COUNTS)
    for packet in tones(0, RATE, 500 * 480).reshape(-1, 480):
        stream.push(packet)
    assert stream._block[NO_SPEECH]
    assert not told[TOLD]
    assert pushes_until_speech(stream) < 200
    assert stream._block[REHEARSALS] <= 11


@pytest.mark.parametrize(
    "settings", [{"content": "speech"}, {"content": "music"}, {"rate": 24_000}]
)
def test_nothing_is_rehearsed_where_it_decides_nothing(settings: Any) -> None:
    stream = received(droning(2.0, settings.get("rate", RATE)), **settings)
    assert stream._block[REHEARSALS] == 10


def test_a_record_is_forgotten_and_takes_no_harm() -> None:
    signal = droning(3.0)
    stream = received(signal)
    for wrong in (np.nan, np.inf, 9e5, 1e-30, 0.0):
        bad = signal.reshape(-1, 480).copy()
        bad[::7] = wrong
        for packet in bad:
            stream.push(packet)
        record = stream._memory.numbers[RECORD : RECORD + 2]
        assert np.all((record >= 0.0) & (record <= 1.0))
    stream.reset()
    assert stream._memory.numbers[RECORD : RECORD + 2].tolist() == [0.5, 0.5]
    assert stream._block[[REHEARSALS, REHEARSED_AT, NO_SPEECH]].tolist() == [10, 0, 0]
