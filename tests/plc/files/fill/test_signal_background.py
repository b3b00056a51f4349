from importlib.resources import files

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from plc import inpaint
from plc.files.fill.signal_background import Background
from plc.files.fill.signals import FillKeywords
from plc_kernels.signal.content import LOGIT, LOUD
from plc_kernels.signal.noise import FRAME_MS, SUBWINDOW_FRAMES, SUBWINDOWS, frame_samples
from plc_kernels.stream import background as hears
from plc_kernels.stream.layout import CONTENT_COUNTS, CONTENT_NUMBERS
from tests.examples import examples
from tests.signals import glide, noise, sine, tones

SAMPLE_RATE = 16_000
FRAME = frame_samples(SAMPLE_RATE)
MEMORY_S = SUBWINDOWS * SUBWINDOW_FRAMES * FRAME_MS / 1000

sizes = st.lists(st.integers(0, 3 * FRAME), min_size=1, max_size=12)


def rms_db(x: NDArray[np.float32]) -> float:
    return float(10 * np.log10(np.mean(x.astype(np.float64) ** 2)))


def heard(*signals: NDArray[np.float32], seed: int = 0) -> Background:
    """Return a background that has listened to one signal for each channel."""
    background = Background(len(signals), SAMPLE_RATE, seed)
    background.listen(np.stack(signals))
    return background


def made(
    background: Background, channels: int = 1, samples: int = 2 * SAMPLE_RATE
) -> NDArray[np.float32]:
    out = np.empty((channels, samples), np.float32)
    background.make_noise(out)
    return out


def syllables(seed: int, samples: int) -> NDArray[np.float32]:
    """Return voice and hiss by turns, 50 ms each at any level: as unsteady as speech."""
    rng = np.random.default_rng(seed)
    n = SAMPLE_RATE // 20
    parts = [
        rng.uniform(0.1, 1.0) * (glide(k, SAMPLE_RATE, n) if k % 2 else noise(k, n))
        for k in range(samples // n + 1)
    ]
    return np.concatenate(parts)[:samples].astype(np.float32)


SYLLABLES = syllables(1, 36 * FRAME).reshape(1, -1)


@examples(40, few=8)
@given(cuts=sizes)
def test_packets_of_another_size_give_the_same_background(cuts: list[int]) -> None:
    signal = SYLLABLES[:, : sum(cuts)]
    whole, cut = Background(1, SAMPLE_RATE, 0), Background(1, SAMPLE_RATE, 0)
    whole.listen(signal)
    for begin, size in zip(np.cumsum([0, *cuts]), cuts, strict=False):
        cut.listen(signal[:, begin : begin + size])
    assert cut.unsteady == whole.unsteady
    np.testing.assert_array_equal(made(cut, samples=2000), made(whole, samples=2000))


@examples(40, few=8)
@given(cuts=sizes)
def test_noise_made_in_pieces_is_noise_made_at_once(cuts: list[int]) -> None:
    pieces, whole = (heard(noise(1, SAMPLE_RATE)) for _ in range(2))
    made_whole = made(whole, samples=sum(cuts))
    made_pieces = [made(pieces, samples=size) for size in cuts]
    np.testing.assert_array_equal(np.concatenate(made_pieces, 1), made_whole)


@pytest.mark.parametrize("level", [1e-4, 0.01, 0.3])
def test_white_noise_comes_back_at_its_level(level: float) -> None:
    signal = noise(2, 4 * SAMPLE_RATE, level)
    background = heard(signal)
    assert abs(rms_db(made(background)) - rms_db(signal)) < 1.5


def test_each_channel_has_its_own_background() -> None:
    loud, soft = noise(1, 4 * SAMPLE_RATE, 0.1), noise(2, 4 * SAMPLE_RATE, 0.001)
    both = made(heard(loud, soft), 2)
    assert abs(rms_db(both[0]) - rms_db(loud)) < 1.5
    assert abs(rms_db(both[1]) - rms_db(soft)) < 1.5
    assert abs(np.corrcoef(both[0], both[1])[0, 1]) < 0.1


def test_the_background_of_speech_with_pauses_is_what_lies_under_it() -> None:
    under = noise(3, 8 * SAMPLE_RATE, 0.001)
    speech = syllables(4, under.size)
    speech[np.arange(under.size) // SAMPLE_RATE % 2 == 1] = 0.0
    assert abs(rms_db(made(heard(under + speech))) - rms_db(under)) < 4.0


def test_silence_stays_silent() -> None:
    background = heard(np.zeros(4 * SAMPLE_RATE, np.float32))
    assert not made(background).any()
    assert not background.unsteady


def test_a_background_that_heard_nothing_is_silent_and_steady() -> None:
    background = Background(2, SAMPLE_RATE, 0)
    assert not made(background, 2).any()
    assert not background.unsteady


@pytest.mark.parametrize("frequency_hz", [100.0, 1000.0, 5000.0])
def test_a_loud_tone_does_not_come_back_as_noise(frequency_hz: float) -> None:
    tone = sine(frequency_hz, SAMPLE_RATE, 4 * SAMPLE_RATE)
    background = heard(tone + noise(5, tone.size, 0.001))
    assert rms_db(made(background)) < rms_db(tone) - 35


@pytest.mark.parametrize(
    "signal",
    [
        sine(440.0, SAMPLE_RATE, 4 * SAMPLE_RATE),
        tones(1, SAMPLE_RATE, 4 * SAMPLE_RATE),
        noise(1, 4 * SAMPLE_RATE),
    ],
    ids=["a sine", "a chord", "noise"],
)
def test_what_holds_is_steady(signal: NDArray[np.float32]) -> None:
    assert not heard(signal).unsteady


def test_what_changes_as_fast_as_speech_is_unsteady_until_music_follows() -> None:
    background = heard(syllables(1, 4 * SAMPLE_RATE))
    assert background.unsteady
    background.listen(tones(1, SAMPLE_RATE, 8 * SAMPLE_RATE).reshape(1, -1))
    assert not background.unsteady


def test_one_unsteady_channel_makes_the_stream_unsteady() -> None:
    n = 4 * SAMPLE_RATE
    music, speech = tones(1, SAMPLE_RATE, n), syllables(1, n)
    assert heard(music, speech).unsteady
    assert heard(speech, music).unsteady


def test_silence_does_not_count_as_steady() -> None:
    background = heard(syllables(1, 4 * SAMPLE_RATE))
    background.listen(np.zeros((1, 60 * SAMPLE_RATE), np.float32))
    assert background.unsteady


def test_an_interrupted_frame_is_dropped() -> None:
    signal = noise(1, SAMPLE_RATE).reshape(1, -1)
    loud = noise(2, FRAME - 1, 10.0).reshape(1, -1)
    interrupted, other = Background(1, SAMPLE_RATE, 0), Background(1, SAMPLE_RATE, 0)
    for background in (interrupted, other):
        background.listen(signal[:, : 10 * FRAME])
        if background is interrupted:
            background.listen(loud)
            background.interrupt()
        background.listen(signal[:, 10 * FRAME :])
    np.testing.assert_array_equal(made(interrupted), made(other))


def test_the_same_seed_gives_the_same_noise() -> None:
    signal = noise(1, SAMPLE_RATE)
    one, same, other = (made(heard(signal, seed=seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert abs(np.corrcoef(one[0], other[0])[0, 1]) < 0.1


@pytest.mark.parametrize("sample_rate", [8_000, 11_025, 44_100, 192_000])
def test_every_rate_works(sample_rate: int) -> None:
    background = Background(1, sample_rate, 0)
    signal = noise(1, int((MEMORY_S + 1) * sample_rate))
    background.listen(signal.reshape(1, -1))
    assert abs(rms_db(made(background, samples=sample_rate)) - rms_db(signal)) < 1.5


@pytest.mark.parametrize("sample_rate", [8_000, 16_000, 48_000])
@pytest.mark.parametrize(("name", "content"), [("music", "music"), ("speech", "speech")])
def test_a_stream_tells_a_voice_from_music_though_packets_are_lost(
    name: str, content: str, sample_rate: int
) -> None:
    soxr = pytest.importorskip("soxr")
    path = str(files("plc") / "data" / f"{name}.flac")
    clip, rate = soundfile.read(path, dtype="float32", always_2d=True)
    signal = soxr.resample(clip[:, 0], rate, sample_rate).astype(np.float32)
    packet = sample_rate // 50
    background = Background(1, sample_rate, 0)
    told = []
    for k, lost in enumerate(np.random.default_rng(1).random(signal.size // packet) < 0.1):
        if lost:
            background.interrupt()
        else:
            background.listen(signal[None, k * packet : (k + 1) * packet])
        told.append(background.content == content)
    assert np.mean(told[50:]) > 0.9


def test_an_eighth_of_a_second_is_loud_before_the_spectrum_has_a_say() -> None:
    background = heard(syllables(1, 5 * FRAME))
    background.listen(1e-3 * noise(1, 40 * FRAME)[None])
    assert not knows(background)
    background.listen(SYLLABLES)
    assert knows(background)


def knows(background: Background) -> bool:
    loud = background._memory.array(CONTENT_COUNTS)[LOUD]
    return bool(loud >= hears._LEAST_LOUD_FRAMES)


def said(background: Background) -> float:
    return float(background._memory.array(CONTENT_NUMBERS)[LOGIT])


def test_a_voice_remains_one_until_that_is_unlikely() -> None:
    clip, rate = soundfile.read(str(files("plc") / "data" / "speech.flac"), dtype="float32")
    organ = tones(7, rate, 6 * rate)
    background = Background(1, rate, 0)
    doubtful = 0
    for begin in range(0, clip.size - FRAME, FRAME):
        background.listen(clip[None, begin : begin + FRAME])
    assert background.content == "speech"
    for begin in range(0, organ.size - FRAME, FRAME):  # the probability falls frame by frame
        background.listen(organ[None, begin : begin + FRAME])
        assert (background.content == "speech") == (said(background) > hears._REMAINS_LOGIT)
        doubtful += hears._REMAINS_LOGIT < said(background) < hears._SPEECH_LOGIT
        if said(background) < hears._REMAINS_LOGIT:
            break
    assert doubtful > 0
    background.listen(organ[None])
    assert background.content == "music"


def test_a_bump_of_the_microphone_does_not_make_a_voice_music() -> None:
    clip, rate = soundfile.read(str(files("plc") / "data" / "speech.flac"), dtype="float32")
    voice = (0.01 * np.tile(clip, 3)).astype(np.float32)
    background = Background(1, rate, 0)
    background.listen(voice[None, : 3 * rate])
    background.listen(noise(1, FRAME)[None])
    told = []
    for begin in range(3 * rate, 12 * rate, FRAME):
        background.listen(voice[None, begin : begin + FRAME])
        told.append(background.content == "speech")
    assert np.mean(told[3 * rate // FRAME :]) > 0.8


def test_channels_are_heard_together() -> None:
    n = 4 * SAMPLE_RATE
    mono, stereo = Background(1, SAMPLE_RATE, 0), Background(2, SAMPLE_RATE, 0)
    signal = syllables(1, n)[None]
    mono.listen(signal)
    stereo.listen(np.repeat(signal, 2, axis=0))
    np.testing.assert_allclose(mono.inputs, stereo.inputs, rtol=1e-4, atol=1e-5)


def test_what_is_taken_for_speech_is_unsteady() -> None:
    clip, rate = soundfile.read(str(files("plc") / "data" / "speech.flac"), dtype="float32")
    assert rate == SAMPLE_RATE
    background = Background(1, rate, 0)
    though_slow = 0
    for begin in range(0, clip.size - FRAME, FRAME):
        background.listen(clip[None, begin : begin + FRAME])
        assert background.unsteady or background.content == "music"
        though_slow += background.content == "speech" and background.flux_db < 3.7
    assert though_slow > 0


@pytest.mark.parametrize("how", [{}, {"quality": "fast"}, {"method": "ar"}])
@pytest.mark.parametrize("seconds", [0.8, 1.6])
@pytest.mark.parametrize("alike", [False, True])
def test_a_long_gap_of_speech_keeps_the_noise_of_the_recording(
    how: FillKeywords, seconds: float, alike: bool
) -> None:
    samples = 7 * SAMPLE_RATE
    spoken = syllables(2, samples) * (np.arange(samples) // 4000 % 2).astype(np.float32)
    # Noise that is less bright than white, of its own in each channel or panned.
    hiss = np.stack([noise(seed, samples, 1.0) for seed in (3, 3 if alike else 4)], axis=1)
    hiss[1:] += 0.9 * hiss[:-1]
    hiss *= 10.0 ** (-55.0 / 20.0) / np.sqrt(np.mean(hiss**2))
    panned = np.array([1.0, 0.7], np.float32)
    x = (spoken[:, None] + hiss).astype(np.float32) * panned
    start, n = 3 * SAMPLE_RATE, round(seconds * SAMPLE_RATE)
    gap, how = [(start, start + n)], {**how, "content": "speech"}
    filled = inpaint(x, gap, sample_rate=SAMPLE_RATE, **how)
    made = np.asarray(filled, np.float32)
    inside = slice(start + n * 3 // 8, start + n * 5 // 8)
    for channel in range(2):
        found = made[inside, channel]
        wanted = panned[channel] * hiss[:, channel]
        assert abs(rms_db(found) - rms_db(wanted)) < 3.0
        assert abs(rms_db(np.diff(found)) - rms_db(np.diff(wanted))) < 3.0, "as bright"
    if alike:
        left, right = made[start : start + n].T
        assert rms_db(0.7 * left - right) < rms_db(right) - 40.0
    spoken[start : start + n] = 0.0
    silent, untold = (
        inpaint(spoken, gap, sample_rate=SAMPLE_RATE, method="ar", content="speech"),
        inpaint(spoken, gap, sample_rate=SAMPLE_RATE, method="ar", content="music"),
    )
    assert np.array_equal(silent, untold), "between words without noise silence stays silence"
