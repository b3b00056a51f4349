from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from plc import ConfigError, PacketError, TraceError, inpaint
from plc.engine.stream.methods import BASELINES, METHODS
from plc.files.fill.interpolate import QUALITIES
from tests.examples import examples, some
from tests.plc.files.fill.test_gaps import inside
from tests.signals import glide, nmse_db, noise, sine, tones

SAMPLE_RATE = 16_000
FILLING = [*(method for method in METHODS if method != "server"), *BASELINES]


@examples(25)
@given(
    gaps=st.lists(
        st.tuples(st.integers(0, 2999), st.integers(1, 500)).map(
            lambda x: (x[0], min(3000, sum(x)))
        ),
        max_size=4,
    ),
    channels=st.integers(0, 2),
    integer=st.booleans(),
    quality=st.sampled_from(["fast", "good"]),
)
def test_samples_outside_the_gaps_are_bit_exact(
    gaps: list[tuple[int, int]], channels: int, integer: bool, quality: str
) -> None:
    shape = (3000, channels) if channels else (3000,)
    signal: Any = glide(1, SAMPLE_RATE, 3000 * max(1, channels)).reshape(shape)
    if integer:
        signal = np.rint(signal * 32767).astype(np.int16)
    before = signal.copy()
    out = inpaint(signal, gaps, sample_rate=SAMPLE_RATE, quality=quality)
    assert out.shape == shape
    assert out.dtype == signal.dtype
    assert np.isfinite(out).all()
    assert not np.shares_memory(out, signal)
    np.testing.assert_array_equal(signal, before)
    known = np.logical_not(inside(gaps, 3000))
    np.testing.assert_array_equal(out[known], before[known])


@some("quality", QUALITIES, 2)
@some("dtype", [np.float32, np.int16])
def test_what_stands_in_a_gap_is_not_looked_at(quality: str, dtype: Any) -> None:
    signal = (glide(1, SAMPLE_RATE, 8000) * (30_000 if dtype == np.int16 else 1)).astype(dtype)
    gaps = [(2000, 2500), (5000, 5800)]
    hidden = signal.copy()
    hidden[inside(gaps, 8000)] = np.nan if dtype == np.float32 else 32_767
    out = inpaint(hidden, gaps, sample_rate=SAMPLE_RATE, quality=quality)
    assert np.isfinite(out).all()
    np.testing.assert_array_equal(
        out, inpaint(signal, gaps, sample_rate=SAMPLE_RATE, quality=quality)
    )


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_samples_that_are_not_finite_are_named_outside_the_gaps(bad: float) -> None:
    signal = np.stack([noise(1, 3000), noise(2, 3000)], 1)
    signal[[1500, 2500], 1] = bad
    with pytest.raises(PacketError, match="sample 2500 is not finite; list it in gaps"):
        inpaint(signal, [(1400, 1600)], sample_rate=SAMPLE_RATE)


def errors_db(signal: NDArray[np.float32]) -> list[float]:
    """Return the error of each quality in gaps of 64 ms."""
    gaps = [(begin, begin + 1024) for begin in range(8000, signal.size - 4000, 8000)]
    where = inside(gaps, signal.size)
    return [
        nmse_db(
            inpaint(signal, gaps, sample_rate=SAMPLE_RATE, quality=quality, model="ar"),
            signal,
            where,
        )
        for quality in ("fast", "good", "best")
    ]


@some("seed", [1, 2, 3])
def test_interpolation_restores_music_better_than_two_predictions_do(seed: int) -> None:
    fast, good, best = errors_db(tones(seed, SAMPLE_RATE, 64_000))
    assert good < fast - 1.0
    assert best < good + 0.3


@some("seed", [1, 2, 3])
def test_interpolation_is_no_worse_on_a_gliding_voice(seed: int) -> None:
    fast, good, best = errors_db(glide(seed, SAMPLE_RATE, 64_000))
    assert good < fast
    assert best < fast + 1.5


@pytest.mark.parametrize("quality", QUALITIES)
def test_a_tone_is_restored(quality: str) -> None:
    signal = sine(440.0, SAMPLE_RATE, 16_000) + noise(1, 16_000, 1e-4)
    gaps = [(8000, 9024)]
    out = inpaint(signal, gaps, sample_rate=SAMPLE_RATE, quality=quality)
    assert nmse_db(out, signal, inside(gaps, signal.size)) < -30.0


@some("quality", QUALITIES)
@pytest.mark.parametrize("gap", [(0, 400), (7600, 8000)])
def test_a_gap_at_an_end_is_predicted_from_the_other_side(
    gap: tuple[int, int], quality: str
) -> None:
    signal = sine(440.0, SAMPLE_RATE, 8000) + noise(1, 8000, 1e-4)
    out = inpaint(signal, [gap], sample_rate=SAMPLE_RATE, quality=quality)
    assert nmse_db(out, signal, inside([gap], 8000)) < -20.0


@some("method", FILLING, 3)
def test_a_signal_that_is_all_gap_is_silent(method: str) -> None:
    signal = noise(1, 2000).reshape(1000, 2)
    assert not inpaint(signal, [(0, 1000)], sample_rate=SAMPLE_RATE, method=method).any()


def test_no_gaps_leave_a_copy() -> None:
    signal = noise(1, 1000)
    out = inpaint(signal, [], sample_rate=SAMPLE_RATE)
    np.testing.assert_array_equal(out, signal)
    assert not np.shares_memory(out, signal)


@some("quality", QUALITIES, 2)
@some("between", [1, 20, 200], 2)
def test_two_gaps_close_together_are_both_filled(quality: str, between: int) -> None:
    signal = sine(440.0, SAMPLE_RATE, 16_000) + noise(1, 16_000, 1e-4)
    gaps = [(8000, 8300), (8300 + between, 8600 + between)]
    out = inpaint(signal, gaps, sample_rate=SAMPLE_RATE, quality=quality)
    for gap in gaps:
        assert nmse_db(out, signal, inside([gap], signal.size)) < -15.0


@pytest.mark.parametrize("method", [*FILLING, "burg:10/50"])
def test_every_method_fills_every_gap(method: str) -> None:
    signal = np.stack([tones(1, SAMPLE_RATE, 8000), glide(2, SAMPLE_RATE, 8000)], 1)
    gaps = [(0, 100), (3000, 3777), (7900, 8000)]
    out = inpaint(signal, gaps, sample_rate=SAMPLE_RATE, method=method)
    assert np.isfinite(out).all()
    for start, stop in gaps:
        filled = out[start:stop]
        assert filled.any() != (method == "zeros")
        assert np.abs(filled).max() < 2.0 * np.abs(signal).max()


def test_channels_are_filled_as_if_alone() -> None:
    left, right = tones(1, SAMPLE_RATE, 8000), glide(2, SAMPLE_RATE, 8000)
    gaps = [(3000, 3500)]
    both = inpaint(np.stack([left, right], 1), gaps, sample_rate=SAMPLE_RATE)
    for c, row in enumerate((left, right)):
        np.testing.assert_array_equal(both[:, c], inpaint(row, gaps, sample_rate=SAMPLE_RATE))


def test_int16_is_rounded_and_clipped() -> None:
    signal = tones(1, SAMPLE_RATE, 8000, 0.3)
    integers = np.rint(np.clip(signal, -1, 1) * 32767).astype(np.int16)
    gaps = [(4000, 4500)]
    out = inpaint(integers, gaps, sample_rate=SAMPLE_RATE)
    as_floats = inpaint(
        integers.astype(np.float32) / np.float32(32_768), gaps, sample_rate=SAMPLE_RATE
    )
    expected = np.clip(np.rint(as_floats * 32_768.0), -32_768, 32_767)
    np.testing.assert_allclose(out.astype(float), expected, atol=1.0)


def test_progress_is_told_after_each_gap() -> None:
    told: list[tuple[int, int]] = []
    gaps = [(100, 200), (500, 600), (550, 700)]
    inpaint(noise(1, 3000), gaps, sample_rate=SAMPLE_RATE, progress=lambda *done: told.append(done))
    assert told == [(1, 2), (2, 2)]


@pytest.mark.parametrize(
    ("signal", "message"),
    [
        (np.zeros(100), r"signal is float64 \(100,\); give float32.*or int16"),
        (np.zeros(100, np.int32), "signal is int32"),
        (np.zeros((2, 3, 4), np.float32), r"signal is float32 \(2, 3, 4\)"),
        (np.zeros(0, np.float32), r"signal is float32 \(0,\).*n > 0"),
        ([0.0], "signal is list"),
    ],
)
def test_a_wrong_signal_names_what_would_do(signal: Any, message: str) -> None:
    with pytest.raises(PacketError, match=message):
        inpaint(signal, [(10, 20)], sample_rate=SAMPLE_RATE)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"quality": "perfect"}, "quality is 'perfect'; known: fast, good, best"),
        ({"quality": ["good"]}, r"quality is \['good'\]; known: fast, good, best"),
        ({"model": 5}, "model is 5; give a name"),
        ({"seed": 1.5}, r"seed is 1\.5; give an integer"),
        ({"seed": "1"}, "seed is '1'; give an integer"),
        ({"method": "magic"}, "method is 'magic'; known: auto"),
        ({"method": "burg:60/100"}, "half"),
        ({"lost": [(90, 101)]}, "gap 90:101 does not fit a signal of 100 samples"),
        ({"sample_rate": 4000}, "sample_rate is 4000; supported: 8000 to 768000 Hz"),
    ],
)
def test_a_wrong_setting_names_what_would_do(settings: dict[str, Any], message: str) -> None:
    call: dict[str, Any] = {"sample_rate": SAMPLE_RATE, "lost": [(10, 20)]} | settings
    with pytest.raises(ConfigError, match=message):
        inpaint(noise(1, 100), **call)


def test_a_trace_and_a_mask_are_the_gaps_they_stand_for() -> None:
    signal = tones(1, SAMPLE_RATE, 3000)
    expected = inpaint(signal, [(800, 960), (2880, 3000)], sample_rate=SAMPLE_RATE, model="ar")
    trace = np.isin(np.arange(19), (5, 18))
    mask = np.repeat(trace, 160)[:3000]
    torch = pytest.importorskip("torch")
    for lost in (trace, mask, torch.from_numpy(mask)):
        out = inpaint(
            torch.from_numpy(signal), lost, sample_rate=SAMPLE_RATE, packet_samples=160, model="ar"
        )
        np.testing.assert_array_equal(out, expected)


def test_a_short_trace_and_impossible_packets_are_refused() -> None:
    with pytest.raises(TraceError, match="the trace has 1 packets"):
        inpaint(tones(1, SAMPLE_RATE, 3000), [True], sample_rate=SAMPLE_RATE)
    with pytest.raises(ConfigError, match="packet_samples is 0"):
        inpaint(tones(1, SAMPLE_RATE, 3000), [True], sample_rate=SAMPLE_RATE, packet_samples=0)


def test_marks_of_another_shape_are_refused() -> None:
    for made_up in (np.zeros(5, np.bool_), np.zeros(100, np.bool_)):
        with pytest.raises(PacketError, match="made_up has shape"):
            inpaint(np.zeros((100, 2), np.float32), [(10, 20)], made_up=made_up)


def test_what_was_filled_is_told_by_channel() -> None:
    signal = np.stack([tones(k, 16_000, 8_000) for k in (1, 2)], axis=1).astype(np.float32)
    made_up = np.ones(signal.shape, np.bool_)
    whole = inpaint(signal, [(2_000, 2_200), (5_000, 5_050, (1,))], sample_rate=16_000,
                    method="ar", made_up=made_up)  # fmt: skip
    expected = np.zeros(signal.shape, np.bool_)
    expected[2_000:2_200] = expected[5_000:5_050, 1] = True
    np.testing.assert_array_equal(made_up, expected)
    np.testing.assert_array_equal(whole[~made_up], signal[~made_up])
    one = np.ones(8_000, np.bool_)
    inpaint(signal[:, 0], [(2_000, 2_200)], sample_rate=16_000, method="ar", made_up=one)
    assert np.flatnonzero(one).tolist() == list(range(2_000, 2_200))
