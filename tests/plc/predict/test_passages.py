"""Drafts from passages that sound alike: near where music repeats itself, harmless elsewhere."""

import numpy as np
import pytest
from numpy.typing import NDArray

from plc.predict.history import History
from plc.predict.ladder import Rung
from plc.predict.linear import ArFiller
from plc.predict.passages import Passages, draft_from
from tests.signals import noise, sine

PAST_MS, AHEAD_MS = 75.0, 75.0


def beats(rate: int, seconds: float, every_s: float, channels: int = 1) -> NDArray[np.float32]:
    """Return a burst of noise that dies away, again and again; each channel has its own."""
    n = round(rate * every_s)
    fall = np.exp(-np.arange(n) * 6.0 / n).astype(np.float32)
    bar = np.stack([fall * noise(c, n) for c in range(channels)])
    return np.tile(bar, -(-round(rate * seconds) // n))[:, : round(rate * seconds)]


class Stream:
    """What a stream remembers, and its drafts."""

    def __init__(self, rate: int, channels: int) -> None:
        self.past, self.ahead = (round(rate * ms / 1000.0) for ms in (PAST_MS, AHEAD_MS))
        self.passages = Passages(rate, channels, self.past, self.ahead)
        self.history = History(channels, self.passages.past_samples)
        self.ar = ArFiller(rate, channels, Rung(20.0, 100.0))

    def hear(self, x: NDArray[np.float32], packet: int) -> None:
        for begin in range(0, x.shape[1], packet):
            block = np.ascontiguousarray(x[:, begin : begin + packet])
            self.history.append(block, trusted=True)
            self.passages.listen(block)

    def drafts(self) -> NDArray[np.float32]:
        """Return both drafts with their past, shape (channels, 2, n)."""
        channels = self.history.ring.shape[0]
        lines = np.full((channels, 2, self.past + self.ahead), np.nan, np.float32)
        for c in range(channels):
            self.history.newest(c, lines[c, 1, : self.past])
        self.ar.begin(self.history)
        draft_from(self.passages, self.history, self.ar, lines)
        return lines

    def predicted(self) -> NDArray[np.float32]:
        """Return what linear prediction alone says, shape (channels, n)."""
        out = np.zeros((self.history.ring.shape[0], self.ahead), np.float32)
        self.ar.begin(self.history)
        self.ar.extend(out)
        return out


def error_db(made: NDArray[np.float32], truth: NDArray[np.float32]) -> float:
    return 10.0 * float(np.log10(np.mean((made - truth) ** 2) / np.mean(truth**2) + 1e-20))


@pytest.mark.parametrize("rate", [8000, 16_000, 44_100, 48_000, 96_000])
@pytest.mark.parametrize("channels", [1, 2])
def test_what_is_heard_again_is_known(rate: int, channels: int) -> None:
    x = beats(rate, 4.0, 0.7, channels)
    stream = Stream(rate, channels)
    start = round(3.5 * rate) - round(0.02 * rate)  # shortly before a burst of noise
    stream.hear(x[:, :start], round(0.01 * rate))
    drafts = stream.drafts()
    truth = x[:, start : start + stream.ahead]
    assert error_db(stream.predicted(), truth) > -1.0
    assert error_db(drafts[:, 0, stream.past :], truth) < -20.0
    assert error_db(drafts[:, 1, stream.past :], truth) < -20.0
    before = x[:, start - stream.past : start]
    assert error_db(drafts[:, 0, : stream.past], before) < -20.0


def test_a_repetition_that_is_played_louder_is_found() -> None:
    rate = 16_000
    x = beats(rate, 4.0, 0.7)
    x[:, round(2.8 * rate) :] *= 1.5
    stream = Stream(rate, 1)
    start = round(3.48 * rate)
    stream.hear(x[:, :start], 160)
    truth = x[:, start : start + stream.ahead]
    assert error_db(stream.drafts()[:, 0, stream.past :], truth) < -15.0


def test_where_nothing_is_like_it_linear_prediction_goes_on() -> None:
    rate = 16_000
    rng = np.random.default_rng(3)
    x = (sine(440.0, rate, 3 * rate) + 0.003 * rng.standard_normal(3 * rate)).astype(np.float32)
    stream = Stream(rate, 1)
    stream.hear(x[None, : 2 * rate], 160)
    truth = x[None, 2 * rate : 2 * rate + stream.ahead]
    plain = stream.predicted()
    joined = stream.drafts()[:, 1, stream.past :]
    assert error_db(joined, truth) < error_db(plain, truth) + 0.5
    assert error_db(joined, plain) < -20.0


def test_a_rehearsal_tells_how_well_each_channel_is_foreseen() -> None:
    rate, samples = 16_000, 3000
    tone = sine(440.0, rate, samples)
    stream = Stream(rate, 3)
    stream.hear(np.stack([tone, tone + noise(5, samples, 0.1), noise(6, samples, 0.1)]), 160)
    drafts = stream.drafts()
    errors = stream.passages.errors
    assert errors[0] < 1e-6
    assert 0.003 < errors[1] < 0.02
    assert 0.003 < errors[2] < 0.02
    expected = stream.predicted()  # the burst is predicted as if not rehearsed
    np.testing.assert_array_equal(drafts[:, 1, stream.past :], expected)


@pytest.mark.parametrize("heard_s", [0.0, 0.05, 0.19])
def test_too_little_heard_is_linear_prediction(heard_s: float) -> None:
    rate = 16_000
    stream = Stream(rate, 1)
    stream.hear(beats(rate, 1.0, 0.1)[:, : round(heard_s * rate)], 160)
    drafts = stream.drafts()
    np.testing.assert_array_equal(drafts[:, 0], drafts[:, 1])
    np.testing.assert_array_equal(drafts[:, 1, stream.past :], stream.predicted())


def test_silence_is_linear_prediction() -> None:
    stream = Stream(16_000, 2)
    stream.hear(np.zeros((2, 48_000), np.float32), 160)
    assert not stream.drafts()[:, :, stream.past :].any()


def test_packets_of_any_size_give_the_same() -> None:
    rate = 16_000
    x = beats(rate, 3.5, 0.6, 2)[:, : round(3.31 * rate)]
    made = []
    for packet in (80, 160, 441, 3200):  # the last is more than is taken in at once
        stream = Stream(rate, 2)
        stream.hear(x, packet)
        made.append(stream.drafts())
    for other in made[1:]:
        np.testing.assert_allclose(other, made[0], atol=2e-4)


@pytest.mark.parametrize("packet", [80, 81])
def test_a_long_stream_is_remembered_to_the_end_and_no_further(packet: int) -> None:
    rate = 8000
    jingle = noise(7, rate)
    stream = Stream(rate, 1)
    # Past the place where the memory of the search is moved, twice.
    filler = np.concatenate([noise(seed, 4 * rate) for seed in range(10, 17)])
    for gap_s, known in ((6.0, True), (9.0, False)):
        stream.passages.reset()
        stream.history.reset()
        between = filler[: round(gap_s * rate)] * 0.5
        x = np.concatenate([filler, jingle, between, jingle[: rate // 2]])
        stream.hear(x[None], packet)
        truth = jingle[None, rate // 2 : rate // 2 + stream.ahead]
        error = error_db(stream.drafts()[:, 0, stream.past :], truth)
        assert error < -20.0 if known else error > -1.0


def test_reset_forgets() -> None:
    rate = 16_000
    x = beats(rate, 3.0, 0.6)[:, : round(2.9 * rate)]
    stream = Stream(rate, 1)
    stream.hear(x, 160)
    first = stream.drafts()
    stream.passages.reset()
    stream.history.reset()
    stream.hear(x, 160)
    np.testing.assert_array_equal(stream.drafts(), first)


def test_loud_and_quiet_neighbours_leave_it_finite() -> None:
    rate = 16_000
    stream = Stream(rate, 1)
    x = beats(rate, 4.0, 0.7)
    x[:, : 2 * rate] *= 1e6 / np.abs(x).max()
    x[:, 3 * rate :] *= 1e-12
    for stop in (2 * rate, round(2.2 * rate), 3 * rate, round(3.5 * rate)):
        stream.passages.reset()
        stream.history.reset()
        stream.hear(x[:, :stop], 160)
        assert np.isfinite(stream.drafts()).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf, 3e38])
def test_what_is_no_sound_is_not_remembered(bad: float) -> None:
    rate = 16_000
    x = beats(rate, 4.0, 0.7)
    worse = x.copy()
    worse[:, 5000:5100] = bad
    ahead = 18_000  # what is compared begins behind that
    stream = Stream(rate, 1)
    for begin in range(0, ahead, 160):
        stream.passages.listen(np.ascontiguousarray(worse[:, begin : begin + 160]))
    stream.history.append(x[:, :ahead], trusted=True)
    stream.hear(x[:, ahead : 3 * rate], 160)
    truth = x[:, 3 * rate : 3 * rate + stream.ahead]
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
        stream = Stream(rate, 1)
        stream.hear(x[None], 160)
        drafts = stream.drafts()[0, :, stream.past :]
        assert np.abs(drafts).max() <= 0.9
        if louder > 2.0:  # more than 6 dB quieter then: no passage to take
            assert np.abs(drafts).max() < 0.1


def test_channels_look_for_passages_of_their_own() -> None:
    rate = 16_000
    x = beats(rate, 4.0, 0.7, 2)[:, : round(3.5 * rate)]
    x[1] = noise(9, x.shape[1])
    stream, alone = Stream(rate, 2), Stream(rate, 1)
    stream.hear(x, 160)
    alone.hear(x[:1], 160)
    np.testing.assert_array_equal(stream.drafts()[:1], alone.drafts())


def test_prediction_goes_on_from_the_joined_draft() -> None:
    rate = 16_000
    stream = Stream(rate, 1)
    stream.hear(beats(rate, 4.0, 0.7)[:, : round(3.5 * rate)], 160)
    joined = stream.drafts()[0, 1]
    more = np.zeros((1, 400), np.float32)
    stream.ar.extend(more)
    other = ArFiller(rate, 1, Rung(20.0, 100.0))
    other.begin(stream.history)
    other.resume(joined[None])
    wanted = np.zeros_like(more)
    other.extend(wanted)
    quiet = np.abs(wanted) < 0.99 * np.abs(wanted).max()  # not held at the limit
    assert quiet.mean() > 0.1
    np.testing.assert_array_equal(more[quiet], wanted[quiet])
    assert np.abs(np.diff(np.concatenate([joined, more[0]])))[-410:].max() < 0.2
