"""Rows of the step: along the pitch of a voice, from passages of music, harmless elsewhere."""

import numpy as np
import pytest
from numpy.typing import NDArray

from plc.engine.networks.flat import MUSIC_DRAFTS, SPEECH_DRAFTS
from plc.engine.predict.baselines import Baseline
from plc.engine.predict.ladder import Rung
from plc.engine.predict.linear import ArFiller
from plc.engine.predict.played_history import History
from plc.errors import ConfigError
from plc_training.data.step_rows import StepRows
from tests.signals import noise, voice

PAST_MS = AHEAD_MS = 75.0
VOICE_RUNG, MUSIC_RUNG = (15.0, 30.0), (20.0, 100.0)


def predicted(
    x: NDArray[np.float32], rate: int, samples: int, rung: tuple[float, float]
) -> NDArray[np.float32]:
    """Return what linear prediction alone says, shape (channels, samples)."""
    ar = ArFiller(rate, x.shape[0], Rung(*rung), from_onsets=True)
    history = History(x.shape[0], ar.past_samples)
    history.append(x, trusted=True)
    ar.begin(history)
    out = np.zeros((x.shape[0], samples), np.float32)
    ar.extend(out)
    return out


def error_db(made: NDArray[np.float32], truth: NDArray[np.float32]) -> float:
    return 10.0 * float(np.log10(np.mean((made - truth) ** 2) / np.mean(truth**2) + 1e-20))


# ---- of speech ---------------------------------------------------------------------------------


def drafted(x: NDArray[np.float32], rate: int, samples: int) -> NDArray[np.float32]:
    """Return both drafts of what follows ``x``, shape (channels, 2, samples)."""
    packet = samples // 4
    rows = StepRows((rate, x.shape[0], packet, 0), SPEECH_DRAFTS, (samples, samples, 0), VOICE_RUNG)
    rows.play(x[:, x.shape[1] % packet :])
    found = rows.rows_of([None])
    assert found is not None
    return found[:, :, samples:]


def plain(x: NDArray[np.float32], rate: int, samples: int) -> NDArray[np.float32]:
    """Return the same at a constant pitch."""
    packet = samples // 4
    x = x[:, x.shape[1] % packet :]
    repeated = Baseline("pitch", rate, samples).go_on(x, samples)
    return np.stack([repeated, predicted(x, rate, samples, VOICE_RUNG)], axis=1)


@pytest.mark.parametrize("rate", [8000, 11_025, 16_000, 44_100, 48_000, 96_000])
@pytest.mark.parametrize(("hertz", "per_second"), [(110.0, 1.0), (210.0, -0.8)])
def test_drafts_follow_a_pitch_that_moves(rate: int, hertz: float, per_second: float) -> None:
    x = voice(rate, 0.6, hertz, per_second)
    start, samples = round(0.5 * rate), 4 * round(0.0075 * rate)
    past, truth = x[None, :start], x[start : start + samples]
    (bent,), (level,) = drafted(past, rate, samples), plain(past, rate, samples)
    for k in range(2):
        assert error_db(bent[k], truth) < error_db(level[k], truth) - 2.0


# ---- of music ----------------------------------------------------------------------------------


def beats(rate: int, seconds: float, every_s: float, channels: int = 1) -> NDArray[np.float32]:
    """Return a burst of noise that dies away, again and again; each channel has its own."""
    n = round(rate * every_s)
    fall = np.exp(-np.arange(n) * 6.0 / n).astype(np.float32)
    bar = np.stack([fall * noise(c, n) for c in range(channels)])
    return np.tile(bar, -(-round(rate * seconds) // n))[:, : round(rate * seconds)]


class Stream:
    """What a stream hears, and its drafts."""

    def __init__(self, rate: int, channels: int, packet: int) -> None:
        self.past = self.ahead = round(rate * PAST_MS / 1000.0)
        lengths = self.past, self.ahead, 0
        self.packet = packet
        self.rows = StepRows((rate, channels, packet, 0), MUSIC_DRAFTS, lengths, MUSIC_RUNG)

    def hear(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """Hear whole packets; return them."""
        heard = x[:, : x.shape[1] // self.packet * self.packet]
        self.rows.play(heard)
        return heard

    def drafts(self) -> NDArray[np.float32]:
        """Return both drafts with their past, shape (channels, 2, n)."""
        found = self.rows.rows_of([None])
        assert found is not None
        return found


@pytest.mark.parametrize("rate", [8000, 16_000, 44_100, 48_000, 96_000])
@pytest.mark.parametrize("channels", [1, 2])
def test_what_is_heard_again_is_known(rate: int, channels: int) -> None:
    x = beats(rate, 4.0, 0.7, channels)
    stream = Stream(rate, channels, round(0.01 * rate))
    heard = stream.hear(x[:, : round(3.48 * rate)])  # shortly before a burst of noise
    start = heard.shape[1]
    drafts = stream.drafts()
    truth = x[:, start : start + stream.ahead]
    assert error_db(predicted(heard, rate, stream.ahead, MUSIC_RUNG), truth) > -1.0
    for k in range(2):
        assert error_db(drafts[:, k, stream.past :], truth) < -20.0
    assert error_db(drafts[:, 0, : stream.past], heard[:, -stream.past :]) < -20.0
    np.testing.assert_array_equal(drafts[:, 1, : stream.past], heard[:, -stream.past :])


def test_a_past_shorter_than_a_row_gives_none() -> None:
    stream = Stream(16_000, 1, 160)
    assert stream.rows.rows_of([None]) is None
    stream.hear(beats(16_000, 0.07, 0.1))
    assert stream.rows.rows_of([None]) is None


def test_packets_of_any_size_give_the_same() -> None:
    rate = 16_000
    x = beats(rate, 3.5, 0.6, 2)[:, : 120 * 441]
    made = []
    for packet in (63, 147, 441, 1764):  # the last is more than is taken in at once
        stream = Stream(rate, 2, packet)
        assert stream.hear(x).shape == x.shape
        made.append(stream.drafts())
    for other in made[1:]:
        np.testing.assert_allclose(other, made[0], atol=2e-4)


def test_a_question_changes_nothing() -> None:
    x = beats(16_000, 3.0, 0.6)
    asked, never = Stream(16_000, 1, 160), Stream(16_000, 1, 160)
    for begin in range(0, 40_000, 4000):
        asked.hear(x[:, begin : begin + 4000])
        asked.drafts()
    never.hear(x[:, :40_000])
    np.testing.assert_array_equal(asked.drafts(), never.drafts())
    np.testing.assert_array_equal(asked.rows._memory.block, never.rows._memory.block)


@pytest.mark.parametrize("bad", [np.nan, np.inf, 3e38])
def test_what_is_no_sound_is_not_remembered(bad: float) -> None:
    rate = 16_000
    x = beats(rate, 4.0, 0.7)
    worse = x.copy()
    worse[:, 5000:5100] = bad
    stream = Stream(rate, 1, 160)
    start = stream.hear(worse[:, : 3 * rate]).shape[1]
    truth = x[:, start : start + stream.ahead]
    assert error_db(stream.drafts()[:, 0, stream.past :], truth) < -20.0


# ---- that no stream makes ----------------------------------------------------------------------


def test_rows_that_no_stream_makes_are_refused() -> None:
    beyond_passages = (1200, 2000, 0)
    with pytest.raises(ConfigError, match="are none that a stream of 16000 Hz makes"):
        StepRows((16_000, 1, 160, 0), MUSIC_DRAFTS, beyond_passages, VOICE_RUNG)
