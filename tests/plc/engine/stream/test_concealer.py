"""The promises of a Concealer, for any losses and any format."""

import math
import tracemalloc
from contextlib import closing
from typing import Any, assert_type, get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from plc import METHODS, Concealer, conceal
from plc.engine.loss import GilbertElliott
from plc.engine.stream.config import Method
from plc.engine.stream.samples import Float32s, Int16s
from plc.engine.stream.stats import Stats
from plc_kernels.stream import extend_music, layout
from tests.examples import examples
from tests.signals import glide, nmse_db, noise, sine, tones, voice

RECOVERY_SAMPLES = 120
"""2.5 ms at 48 kHz."""

FORMATS = [
    (8_000, 8),
    (8_000, 960),
    (16_000, 320),
    (44_100, 441),
    (44_100, 512),
    (48_000, 64),
    (48_000, 1152),
    (96_000, 480),
    (192_000, 192),
]


def lost_samples(trace: NDArray[np.bool_], packet_samples: int) -> NDArray[np.bool_]:
    return np.repeat(trace, packet_samples)


losses = st.lists(st.booleans(), min_size=1, max_size=40).map(lambda x: np.array(x, bool))


@examples(60)
@given(
    trace=losses,
    stream=st.sampled_from(FORMATS),
    channels=st.integers(1, 3),
    lookahead=st.integers(0, 3),
    method=st.sampled_from(["auto", "ar", "burg:5/30"]),
    integer=st.booleans(),
)
def test_any_losses_give_as_many_finite_samples(
    trace: NDArray[np.bool_],
    stream: tuple[int, int],
    channels: int,
    lookahead: int,
    method: Any,
    integer: bool,
) -> None:
    sample_rate, packet_samples = stream
    signal: NDArray[Any] = noise(1, trace.size * packet_samples * channels).reshape(-1, channels)
    if integer:
        signal = (signal * 32767).astype(np.int16)
    out = conceal(
        signal,
        trace,
        sample_rate=sample_rate,
        packet_samples=packet_samples,
        lookahead=lookahead,
        method=method,
    )
    assert out.shape == signal.shape
    assert out.dtype == signal.dtype
    assert np.isfinite(out).all()


@examples(40)
@given(trace=losses, packet_samples=st.sampled_from([64, 441, 480, 1152]), seed=st.integers(0, 99))
def test_received_samples_are_bit_exact_outside_the_crossfades(
    trace: NDArray[np.bool_], packet_samples: int, seed: int
) -> None:
    signal = noise(seed, trace.size * packet_samples)
    out = conceal(signal, trace, packet_samples=packet_samples)
    touched = lost_samples(trace, packet_samples)
    for end in np.flatnonzero(np.diff(np.append(touched, False).astype(int)) == -1) + 1:
        touched[end : end + RECOVERY_SAMPLES] = True
    np.testing.assert_array_equal(out[~touched], signal[~touched])


@given(
    samples=st.integers(1, 3000),
    lookahead=st.integers(0, 4),
    dtype=st.sampled_from([np.float32, np.int16]),
)
def test_a_stream_without_loss_is_unchanged(samples: int, lookahead: int, dtype: Any) -> None:
    signal = (noise(5, samples) * (1000 if dtype == np.int16 else 1)).astype(dtype)
    trace = np.zeros(-(-samples // 128), bool)
    out = conceal(signal, trace, packet_samples=128, lookahead=lookahead)
    np.testing.assert_array_equal(out, signal)


def test_the_output_comes_lookahead_packets_later() -> None:
    concealer = Concealer(packet_samples=64, lookahead=2)
    packets = noise(0, 10 * 64).reshape(10, 64, 1)
    out = [concealer.push(packet) for packet in packets]
    assert concealer.delay == 128
    assert not np.any(out[:2])
    np.testing.assert_array_equal(out[2:], packets[:8])
    np.testing.assert_array_equal(concealer.flush(), packets[8:].reshape(-1, 1))


def test_a_stream_shorter_than_the_lookahead_is_not_lost() -> None:
    concealer = Concealer(packet_samples=64, lookahead=3)
    packet = noise(0, 64).reshape(64, 1)
    first = concealer.push(packet)
    whole = np.concatenate([first, concealer.flush()])
    np.testing.assert_array_equal(whole[concealer.delay :], packet)


@pytest.mark.parametrize("lookahead", [0, 1])
def test_the_same_packets_cut_differently_give_the_same_samples(lookahead: int) -> None:
    signal = tones(3, 48_000, 48_000)
    trace = GilbertElliott(0.1, 2.0).trace(50, 4)
    # A network for music is heard from the second packet on: there the cut does matter.
    coarse = conceal(signal, trace, packet_samples=960, lookahead=lookahead, model="ar")
    fine = conceal(
        signal, np.repeat(trace, 4), packet_samples=240, lookahead=4 * lookahead, model="ar"
    )
    if lookahead == 0:
        np.testing.assert_array_equal(fine, coarse)
    else:
        where = lost_samples(trace, 960)
        assert nmse_db(fine, signal, where) < nmse_db(coarse, signal, where) + 1.0


def test_reset_equals_new() -> None:
    signal = tones(1, 48_000, 24_000).reshape(-1, 480, 1)
    trace = GilbertElliott(0.2, 2.0).trace(50, 1)
    concealer = Concealer(budget_ms=float("inf"))

    def play() -> list[NDArray[Any]]:
        pairs = zip(signal, trace, strict=True)
        return [concealer.push(None if lost else packet) for packet, lost in pairs]

    first = play()
    concealer.reset()
    assert concealer.stats.packets == 0
    np.testing.assert_array_equal(play(), first)


def test_the_same_seed_gives_the_same_samples() -> None:
    signal = noise(1, 48_000, 0.01)
    trace = np.zeros(100, bool)
    trace[40:90] = True
    one, same, other = (conceal(signal, trace, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert not np.array_equal(one, other)


def test_tonal_music_is_concealed_at_the_measured_quality() -> None:
    signal = tones(2, 48_000, 96_000)
    trace = GilbertElliott(0.1, 1.5).trace(200, 2)
    trace[:20] = False
    where = lost_samples(trace, 480)
    ours = nmse_db(conceal(signal, trace), signal, where)
    order: Any = "burg:5/50"
    plain = nmse_db(conceal(signal, trace, method=order), signal, where)
    assert ours < -12.0
    assert ours < plain - 1.5


@pytest.mark.parametrize("value", [0.0, 1.0])
@pytest.mark.parametrize("channels", [1, 2])
def test_a_damaged_sample_before_a_loss_is_played_and_not_gone_on_from(
    value: float, channels: int
) -> None:
    voiced = voice(16_000, 0.5, 180.0, 0.8)[50:7090]  # no zero at the end of packet 19
    signal = np.repeat(voiced[:, None], channels, axis=1)
    packets = signal.reshape(-1, 320, channels)
    touched = packets.copy()
    touched[19, -2:, -1] = value
    played = []
    for stream in (packets, touched):
        concealer = Concealer(16_000, channels, 320, method="ar", budget_ms=np.inf)
        played.append([concealer.push(packet).copy() for packet in stream[:20]])
        assert np.array_equal(played[-1], stream[:20])
        played[-1].append(concealer.push(None).copy())
    intact, mended = (each[-1] for each in played)
    assert float(np.sum((mended - intact) ** 2)) < 0.05 * float(np.sum(intact**2))
    assert np.array_equal(mended[:, :-1], intact[:, :-1])


def test_lookahead_is_better_than_none() -> None:
    signal = glide(2, 48_000, 96_000)
    trace = GilbertElliott(0.1, 1.5).trace(200, 2)
    trace[:20] = False
    where = lost_samples(trace, 480)
    causal, inpaint = (nmse_db(conceal(signal, trace, lookahead=k), signal, where) for k in (0, 2))
    assert inpaint < causal - 1.0


def test_an_outage_that_lasts_falls_quiet() -> None:
    signal = noise(3, 12 * 8000, 0.05)
    trace = np.arange(1200) >= 200
    trace[1150:] = False
    out = conceal(signal, trace, sample_rate=8000, packet_samples=80)
    second = [np.std(out[k * 8000 : (k + 1) * 8000]) for k in range(12)]
    assert 0.03 < second[3] < 0.07  # the background at its own level
    assert second[8] < 0.1 * second[3]
    np.testing.assert_array_equal(out[-3200:], signal[-3200:])


def test_silence_stays_silent() -> None:
    out = conceal(np.zeros(48_000, np.float32), np.arange(100) % 3 == 0)
    assert not out.any()


def test_a_stream_that_begins_with_losses_begins_silent() -> None:
    signal = sine(440.0, 48_000, 4800)
    out = conceal(signal, np.arange(10) < 3)
    assert not out[: 3 * 480].any()
    np.testing.assert_array_equal(out[3 * 480 + RECOVERY_SAMPLES :], signal[3 * 480 + 120 :])


@pytest.mark.parametrize(
    "view",
    [
        lambda x: x[::2],
        lambda x: np.asfortranarray(x[:480]),
        lambda x: x[:480][::-1][::-1],
    ],
)
def test_any_layout_is_taken_and_left_alone(view: Any) -> None:
    packet = view(noise(0, 1920).reshape(960, 2))
    packet.setflags(write=False)
    before = packet.copy()
    concealer = Concealer(channels=2)
    np.testing.assert_array_equal(concealer.push(packet), before)
    np.testing.assert_array_equal(packet, before)


def test_channels_are_concealed_as_if_alone() -> None:
    left, right = tones(1, 48_000, 48_000), tones(2, 48_000, 48_000)
    trace = GilbertElliott(0.1, 1.5).trace(100, 6)
    stereo = np.stack([left, right], 1)
    alone = conceal(left, trace, model="ar")
    np.testing.assert_array_equal(conceal(stereo, trace, model="ar")[:, 0], alone)
    # On some processors ONNX Runtime rounds a batch of two otherwise than one.
    np.testing.assert_allclose(conceal(stereo, trace)[:, 0], conceal(left, trace), atol=1e-5)


class SlowClock:
    """A clock by which every concealment takes ``concealed_s``."""

    def __init__(self) -> None:
        self.now = 0.0
        self.step = 0.0

    def __call__(self) -> float:
        self.now += self.step
        return self.now


class Machine:
    """Two clocks: each concealment takes so much wall time, and so much of the thread's own."""

    def __init__(self, budget_ms: float) -> None:
        self.wall_ms = self.cpu_ms = 0.0
        self.wall_s = self.cpu_s = 0.0
        self.concealer = Concealer(
            clock=self.wall, cpu_clock=self.cpu, budget_ms=float("inf"), model="ar"
        )
        self.concealer._limit_ms = budget_ms
        self.packets = tones(1, 48_000, 48_000).reshape(-1, 480, 1)
        self.pushed = 0

    def wall(self) -> float:
        self.wall_s += self.wall_ms / 1000.0
        return self.wall_s

    def cpu(self) -> float:
        self.cpu_s += self.cpu_ms / 1000.0
        return self.cpu_s

    def run(self, packets: int, lose_every: int) -> Stats:
        """Push so many and return what became of them."""
        self.concealer.stats.reset()
        for _ in range(packets):
            self.pushed += 1
            lost = self.pushed % lose_every == 0
            self.concealer.push(None if lost else self.packets[self.pushed % 100])
        return self.concealer.stats

    @property
    def top(self) -> str:
        return str(self.concealer.describe()["ladders"]["steady"][0]["rung"])


def test_being_interrupted_is_a_missed_deadline_and_no_reason_for_a_cheaper_rung() -> None:
    machine = Machine(budget_ms=2.0)
    machine.wall_ms = 50.0
    stats = machine.run(1000, lose_every=10)
    assert stats.deadline_misses == 100
    assert stats.rung_changes == 0
    assert stats.rung_samples[machine.top] == stats.concealed_samples == 100 * 480


def test_processor_time_over_the_budget_takes_cheaper_rungs() -> None:
    machine = Machine(budget_ms=2.0)
    machine.cpu_ms = 3.0
    stats = machine.run(1000, lose_every=10)
    assert stats.deadline_misses == 0
    assert stats.rung_changes >= 11
    assert stats.rung_samples[machine.top] == 2 * 480


def test_an_unsound_packet_takes_no_longer_than_a_lost_one() -> None:
    machine = Machine(budget_ms=2.0)
    machine.cpu_ms, machine.cpu_s = 1.0, 1000.0
    for _ in range(10):
        machine.concealer.push(machine.packets[0])
        machine.concealer.push(np.full((480, 1), np.nan, np.float32))
    assert machine.concealer.stats.rung_changes == 0


@pytest.mark.parametrize("lose_every", [10, 100])
def test_after_load_seconds_of_calm_are_enough_for_the_best_rung(lose_every: int) -> None:
    machine = Machine(budget_ms=2.0)
    machine.cpu_ms = 3.0
    machine.run(3000, lose_every)
    machine.cpu_ms = 1.0
    machine.run(900, lose_every)
    stats = machine.run(500, lose_every)
    assert stats.rung_changes == 0
    assert stats.rung_samples[machine.top] == stats.concealed_samples


def test_another_clock_alone_is_both() -> None:
    clock = SlowClock()
    clock.step = 0.01
    concealer = Concealer(clock=clock, budget_ms=float("inf"), model="ar")
    assert concealer._cpu_clock is clock


def test_only_concealed_packets_read_the_processors_time() -> None:
    clock = SlowClock()
    clock.step = 1e-9
    concealer = Concealer(cpu_clock=clock, model="ar")
    for packet in tones(1, 48_000, 4800).reshape(-1, 480, 1):
        concealer.push(packet)
    assert clock.now == 0.0
    concealer.push(None)
    assert clock.now == 2 * clock.step


@pytest.mark.parametrize("model", ["ar", "auto"])
def test_in_a_hurry_bursts_begin_with_what_is_quick(model: str) -> None:
    if model == "auto":
        pytest.importorskip("onnxruntime")
    signal = tones(1, 48_000, 40 * 480).reshape(-1, 480, 1)
    # What a thread had time to prepare is quick, too.
    with closing(Concealer(budget_ms=1e6, model=model, prepare="never")) as concealer:
        cheapest = concealer.describe()["ladders"]["steady"][-1]["rung"]
        for k, packet in enumerate(signal):
            concealer.hurry(0.0 if k < 30 else float("inf"))
            concealer.push(None if k in (20, 35) else packet)
        made = {rung for rung, samples in concealer.stats.rung_samples.items() if samples}
    assert cheapest in made
    assert len(made) == 2


@pytest.mark.parametrize("method", METHODS)
def test_every_method_stands_for_something(method: Any) -> None:
    signal = tones(4, 16_000, 32_000)
    trace = GilbertElliott(0.1, 1.5).trace(100, 3)
    out = conceal(signal, trace, sample_rate=16_000, packet_samples=320, method=method)
    assert out[lost_samples(trace, 320)].any()
    assert METHODS[method]


def test_memory_does_not_grow() -> None:
    concealer = Concealer(packet_samples=64)
    packet = noise(0, 64).reshape(64, 1)
    out = np.empty((64, 1), np.float32)
    trace = GilbertElliott(0.1, 3.0).trace(1500, 0)

    def play() -> None:
        for lost in trace:
            concealer.push(None if lost else packet, out)

    play()
    tracemalloc.start()
    try:
        play()
        first, _ = tracemalloc.get_traced_memory()
        play()
        second, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert second - first < 2000


def test_a_concealer_without_a_network_costs_less_than_two_megabytes() -> None:
    Concealer()
    tracemalloc.start()
    try:
        kept = Concealer(
            sample_rate=48_000, channels=2, packet_samples=960, lookahead=1, model="ar"
        )
        size, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept.stats.packets == 0
    assert size < 2_000_000


@pytest.mark.parametrize("method", ["auto", "burg:5/30"])
@pytest.mark.parametrize("packet_samples", [32, 64, 480])
def test_a_bridge_ends_without_a_step(method: Any, packet_samples: int) -> None:
    signal = sine(440.0, 48_000, 48_000)
    trace = np.zeros(signal.size // packet_samples, bool)
    trace[[trace.size // 2, trace.size // 2 + 7]] = True
    out = conceal(signal, trace, packet_samples=packet_samples, lookahead=1, method=method)
    assert np.abs(np.diff(out)).max() < 1.7 * np.abs(np.diff(signal)).max()


@pytest.mark.parametrize(
    ("sample_rate", "packet_samples"), [(8000, 8), (48_000, 32), (48_000, 480)]
)
@pytest.mark.parametrize("first_lost", [1, 2, 5])
def test_a_loss_right_at_the_start_makes_no_step(
    sample_rate: int, packet_samples: int, first_lost: int
) -> None:
    signal = sine(440.0, sample_rate, 40 * packet_samples)
    trace = np.arange(40) == first_lost
    out = conceal(signal, trace, sample_rate=sample_rate, packet_samples=packet_samples)
    # Next to nothing was heard: it may die away, within half a millisecond, but not jump.
    decay = 0.5 * (1 - np.exp(-1000 / (0.5 * sample_rate)))
    assert np.abs(np.diff(out)).max() < 2 * np.abs(np.diff(signal)).max() + decay


@pytest.mark.parametrize("lookahead", [0, 1, 60, 100])
def test_a_long_gap_fades_whatever_the_lookahead(lookahead: int) -> None:
    signal = tones(1, 16_000, 32_000)
    trace = np.zeros(200, bool)
    trace[100:160] = True
    out = conceal(signal, trace, sample_rate=16_000, packet_samples=160, lookahead=lookahead)
    assert np.std(out[16_000:16_800]) > 0.03
    assert np.std(out[16_000 + 4800 : 16_000 + 9000]) < 0.01


def test_time_is_only_judged_where_something_was_fitted() -> None:
    clock = SlowClock()
    concealer = Concealer(clock=clock, budget_ms=float("inf"))
    concealer._limit_ms = 2.0
    packets = tones(1, 48_000, 48_000).reshape(-1, 480, 1)
    clock.step = 0.01
    for k in range(4):
        concealer.push(packets[k])
        concealer.push(None)
    changes = concealer.stats.rung_changes
    assert changes == 2
    clock.step = 0.0
    for _ in range(3000):
        concealer.push(None)
    assert concealer.stats.rung_changes == changes


@pytest.mark.parametrize("rate", [8_000, 48_000])
def test_what_is_just_below_the_largest_sample_gives_no_nan(rate: int) -> None:
    """Whatever it is taken for: noise that comes and goes is unsteady, as speech is."""
    n = rate // 50
    rng = np.random.default_rng(5)
    concealer = Concealer(rate, 1, n, model="ar", budget_ms=float("inf"))
    for k in range(200):
        level = 9.9e5 if k % 3 else 1.0
        packet = (level * rng.uniform(-1.0, 1.0, n)).astype(np.float32)
        out = concealer.push(None if k > 50 and k % 7 in (0, 1) else packet)
        assert np.isfinite(out).all()
    for _ in range(20):
        assert np.isfinite(concealer.push(None)).all()


# ---- packets that arrive in part ----------------------------------------------------------------


@pytest.mark.parametrize("channels", [1, 2])
def test_what_is_missing_of_a_packet_is_concealed_as_shorter_packets_are(channels: int) -> None:
    signal = np.stack([tones(c, 48_000, 192_000) for c in range(channels)], axis=1)
    trace = GilbertElliott(0.2, 2.0).trace(800, 5)
    short = Concealer(48_000, channels, 240, model="ar", budget_ms=float("inf"))
    whole = Concealer(48_000, channels, 960, model="ar", budget_ms=float("inf"))
    for k in range(200):
        packet = signal[960 * k : 960 * (k + 1)]
        gone = [quarter for quarter in range(4) if trace[4 * k + quarter]]
        quarters = [packet[240 * quarter :][:240] for quarter in range(4)]
        expected = []
        for quarter in range(4):
            rest = [other for other in range(quarter + 1, 4) if other not in gone]
            behind = [(240 * (other - quarter - 1), quarters[other]) for other in rest]
            lost = quarter in gone
            expected.append(short.push(None if lost else quarters[quarter], behind=behind * lost))
        missing: list[tuple[int, int]] = []
        for quarter in gone:
            begin = 240 * quarter
            if missing and missing[-1][1] == begin:
                begin = missing.pop()[0]
            missing.append((begin, 240 * (quarter + 1)))
        spoilt = packet.copy()
        for begin, stop in missing:
            spoilt[begin:stop] = np.nan  # is not looked at
        played = whole.push(spoilt, missing=missing)
        np.testing.assert_array_equal(played, np.concatenate(expected))
    assert whole.stats.concealed_samples == 240 * trace.sum()
    assert whole.stats.lost_packets == whole.stats.invalid_packets == 0
    assert whole.stats.partial_packets > 20


def test_its_text_tells_the_format_the_method_and_the_losses() -> None:
    concealer = Concealer(channels=2, lookahead=1, method="burg")
    concealer.push(None)
    assert repr(concealer) == (
        "<Concealer of 48000 Hz, 2 channels, packets of 480 samples (10 ms), lookahead 1, "
        "method 'burg', time limit 2.5 ms; packets=1 lost_packets=1 concealed_samples=0 "
        "concealment_events=0>"
    )
    offline = Concealer(8_000, packet_samples=160, model="ar", budget_ms=float("inf"))
    assert "method 'auto' (ar), no time limit" in repr(offline)


def test_leaving_it_closes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[Concealer] = []
    monkeypatch.setattr(Concealer, "close", lambda concealer: closed.append(concealer))
    with Concealer(method="burg") as concealer:
        assert concealer.push(None).shape == (480, 1)
        assert not closed
    assert closed == [concealer]
    with pytest.raises(ZeroDivisionError), Concealer(method="burg") as failed:
        raise ZeroDivisionError
    assert closed == [concealer, failed]


def test_a_checker_knows_the_names_that_are_taken() -> None:
    assert get_args(Method) == tuple(METHODS)


def test_a_checker_knows_that_samples_leave_as_they_came() -> None:
    """What is asserted for a checker is what comes out."""
    concealer = Concealer(sample_rate=8_000, packet_samples=80, method="ar", content="music")
    floats, integers = np.zeros((80, 1), np.float32), np.zeros((80, 1), np.int16)
    lost = bool(floats.any())
    assert_type(concealer.push(None), Float32s | Int16s)
    assert assert_type(concealer.push(None if lost else floats), Float32s).dtype == np.float32
    assert assert_type(concealer.push(None if lost else integers), Int16s).dtype == np.int16
    assert assert_type(concealer.push(bytes(160)), Int16s).dtype == np.int16
    assert assert_type(concealer.push(floats, floats), Float32s).dtype == np.float32


@pytest.mark.parametrize("hurried", [False, True])
def test_who_is_behind_does_not_listen_for_passages(hurried: bool) -> None:
    with Concealer(16_000, content="music", prepare="never", budget_ms=math.inf) as engine:
        engine.hurry(1.0 if hurried else math.inf)
        for block in noise(3, 300 * 160).reshape(300, 160):
            engine.push(block)
        heard = layout.RECALL_TABLE.view(engine._memory.block, extend_music.ENDS)[-2]
    assert (heard == 0) == hurried
