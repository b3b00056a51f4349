"""Rows of the step: along the pitch of a voice, from passages of music, harmless elsewhere."""

import numpy as np
import pytest
from numpy.typing import NDArray

from plc.engine.networks.flat import BRIDGE_DRAFTS, MUSIC_DRAFTS, SPEECH_DRAFTS
from plc.engine.predict.baselines import Baseline
from plc.engine.predict.ladder import Rung
from plc.engine.predict.linear import ArFiller
from plc.engine.predict.played_history import History
from plc.errors import ConfigError
from plc_kernels.stream.music_drafts import ERRORS
from plc_training.data.step_rows import StepRows
from tests.signals import noise, sine, voice

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


def test_where_there_is_no_pitch_drafts_are_as_they_were() -> None:
    for x in (noise(1, 8000), np.zeros(8000, np.float32)):
        np.testing.assert_array_equal(drafted(x[None], 16_000, 960), plain(x[None], 16_000, 960))


def test_channels_are_drafted_as_if_alone() -> None:
    rate = 16_000
    both = np.stack([voice(rate, 0.5, 120.0, 0.7), noise(2, 8000)])
    apart = [drafted(channel[None], rate, 960)[0] for channel in both]
    np.testing.assert_array_equal(drafted(both, rate, 960), np.stack(apart))


def test_drafts_begin_where_the_past_ends() -> None:
    x = voice(16_000, 0.5, 120.0, 1.0)
    steepest = np.abs(np.diff(x)).max()
    for draft in drafted(x[None], 16_000, 960)[0]:
        assert abs(draft[0] - x[-1]) < 1.2 * steepest


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


def test_a_repetition_that_is_played_louder_is_found() -> None:
    rate = 16_000
    x = beats(rate, 4.0, 0.7)
    x[:, round(2.8 * rate) :] *= 1.5
    stream = Stream(rate, 1, 160)
    start = stream.hear(x[:, : round(3.48 * rate)]).shape[1]
    truth = x[:, start : start + stream.ahead]
    assert error_db(stream.drafts()[:, 0, stream.past :], truth) < -15.0


def test_where_nothing_is_like_it_linear_prediction_goes_on() -> None:
    rate = 16_000
    rng = np.random.default_rng(3)
    x = (sine(440.0, rate, 3 * rate) + 0.003 * rng.standard_normal(3 * rate)).astype(np.float32)
    stream = Stream(rate, 1, 160)
    heard = stream.hear(x[None, : 2 * rate])
    truth = x[None, 2 * rate : 2 * rate + stream.ahead]
    alone = predicted(heard, rate, stream.ahead, MUSIC_RUNG)
    joined = stream.drafts()[:, 1, stream.past :]
    assert error_db(joined, truth) < error_db(alone, truth) + 0.5
    assert error_db(joined, alone) < -20.0


def test_a_rehearsal_tells_how_well_each_channel_is_foreseen() -> None:
    rate, samples = 16_000, 3040
    tone = sine(440.0, rate, samples)
    stream = Stream(rate, 3, 160)
    heard = np.stack([tone, tone + noise(5, samples, 0.1), noise(6, samples, 0.1)])
    stream.hear(heard)
    memory = stream.rows._memory
    stream.rows._push(None)
    errors = memory.array(ERRORS)
    assert errors[0] < 1e-6
    assert 0.003 < errors[1] < 0.02
    assert 0.003 < errors[2] < 0.02
    # The burst is predicted as if not rehearsed.
    alone = predicted(heard, rate, stream.ahead, MUSIC_RUNG)
    np.testing.assert_array_equal(stream.rows._lines[:, 1, stream.past :], alone)


@pytest.mark.parametrize("heard_s", [0.08, 0.19])
def test_too_little_heard_is_linear_prediction(heard_s: float) -> None:
    rate = 16_000
    stream = Stream(rate, 1, 160)
    heard = stream.hear(beats(rate, 1.0, 0.1)[:, : round(heard_s * rate)])
    drafts = stream.drafts()
    np.testing.assert_array_equal(drafts[:, 0], drafts[:, 1])
    alone = predicted(heard, rate, stream.ahead, MUSIC_RUNG)
    np.testing.assert_array_equal(drafts[:, 1, stream.past :], alone)


def test_a_past_shorter_than_a_row_gives_none() -> None:
    stream = Stream(16_000, 1, 160)
    assert stream.rows.rows_of([None]) is None
    stream.hear(beats(16_000, 0.07, 0.1))
    assert stream.rows.rows_of([None]) is None


def test_silence_is_linear_prediction() -> None:
    stream = Stream(16_000, 2, 160)
    stream.hear(np.zeros((2, 48_000), np.float32))
    assert not stream.drafts()[:, :, stream.past :].any()


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


@pytest.mark.parametrize("packet", [80, 81])
def test_a_long_stream_is_remembered_to_the_end_and_no_further(packet: int) -> None:
    rate = 8000
    jingle = noise(7, rate)
    # Past the place where the memory of the search is moved, twice.
    filler = np.concatenate([noise(seed, 4 * rate) for seed in range(10, 17)])
    for gap_s, known in ((6.0, True), (9.0, False)):
        stream = Stream(rate, 1, packet)
        between = filler[: round(gap_s * rate)] * 0.5
        x = np.concatenate([filler, jingle, between, jingle])[None]
        start = stream.hear(x[:, : -rate // 2]).shape[1]
        error = error_db(stream.drafts()[0, 0, stream.past :], x[0, start : start + stream.ahead])
        assert error < -20.0 if known else error > -1.0


def test_a_question_changes_nothing() -> None:
    x = beats(16_000, 3.0, 0.6)
    asked, never = Stream(16_000, 1, 160), Stream(16_000, 1, 160)
    for begin in range(0, 40_000, 4000):
        asked.hear(x[:, begin : begin + 4000])
        asked.drafts()
    never.hear(x[:, :40_000])
    np.testing.assert_array_equal(asked.drafts(), never.drafts())
    np.testing.assert_array_equal(asked.rows._memory.block, never.rows._memory.block)


def test_loud_and_quiet_neighbours_leave_it_finite() -> None:
    rate = 16_000
    x = beats(rate, 4.0, 0.7)
    x[:, : 2 * rate] *= 1e6 / np.abs(x).max()
    x[:, 3 * rate :] *= 1e-12
    for stop in (2 * rate, round(2.2 * rate), 3 * rate, round(3.5 * rate)):
        stream = Stream(rate, 1, 160)
        stream.hear(x[:, :stop])
        assert np.isfinite(stream.drafts()).all()


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


def test_a_fill_is_never_louder_than_what_was_heard() -> None:
    """A roll, a crash; then the roll again, 10 dB louder than before, and no crash."""
    rate = 16_000
    rng = np.random.default_rng(0)
    roll = 0.003 * rng.standard_normal(round(0.6 * rate))
    crash = rng.standard_normal(rate // 2) * np.exp(-6.0 * np.arange(rate // 2) / rate)
    calm = 0.001 * rng.standard_normal(round(1.5 * rate))
    crash *= 0.9 / np.abs(crash).max()
    for louder in (1.0, 1.8, 3.35):
        x = np.concatenate([calm, roll, crash, calm, louder * roll]).astype(np.float32)
        stream = Stream(rate, 1, 160)
        stream.hear(x[None])
        drafts = stream.drafts()[0, :, stream.past :]
        assert np.abs(drafts).max() <= 0.9
        if louder > 2.0:  # more than 6 dB quieter then: no passage to take
            assert np.abs(drafts).max() < 0.1


def test_channels_look_for_passages_of_their_own() -> None:
    rate = 16_000
    x = beats(rate, 4.0, 0.7, 2)[:, : round(3.5 * rate)]
    x[1] = noise(9, x.shape[1])
    stream, alone = Stream(rate, 2, 160), Stream(rate, 1, 160)
    stream.hear(x)
    alone.hear(x[:1])
    np.testing.assert_array_equal(stream.drafts()[:1], alone.drafts())


# ---- that no stream makes ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stream", "drafts", "lengths"),
    [
        ((16_000, 1, 160, 0), MUSIC_DRAFTS, (1200, 2000, 0)),  # passages reach no further
        ((16_000, 1, 160, 0), BRIDGE_DRAFTS, (1920, 320, 720)),  # nothing is waited for
    ],
)
def test_rows_that_no_stream_makes_are_refused(
    stream: tuple[int, int, int, int], drafts: tuple[str, ...], lengths: tuple[int, int, int]
) -> None:
    with pytest.raises(ConfigError, match="are none that a stream of 16000 Hz makes"):
        StepRows(stream, drafts, lengths, VOICE_RUNG)
