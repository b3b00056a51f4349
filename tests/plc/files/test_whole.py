from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from plc import (
    Concealer,
    ConfigError,
    ModelError,
    PacketError,
    TraceError,
    conceal,
    detect,
    inpaint,
)
from tests.examples import examples
from tests.signals import glide, noise, sine, tones

PACKET = 128
SAMPLE_RATE = 16_000
STREAM: dict[str, Any] = {"sample_rate": SAMPLE_RATE, "packet_samples": PACKET}


def stereo(samples: int) -> NDArray[np.float32]:
    return np.stack([tones(1, SAMPLE_RATE, samples), glide(2, SAMPLE_RATE, samples)], 1)


def as_int16(signal: NDArray[np.float32]) -> NDArray[np.int16]:
    return np.rint(signal * 32767).astype(np.int16)


@examples(20)
@given(
    trace=st.lists(st.booleans(), min_size=1, max_size=20),
    lookahead=st.integers(0, 3),
    integer=st.booleans(),
)
def test_a_whole_signal_is_what_a_receiver_plays(
    trace: list[bool], lookahead: int, integer: bool
) -> None:
    signal: Any = stereo(len(trace) * PACKET)
    if integer:
        signal = as_int16(signal)
    concealer = Concealer(channels=2, lookahead=lookahead, budget_ms=float("inf"), **STREAM)
    packets = signal.reshape(-1, PACKET, 2)
    played = [
        concealer.push(None if lost else packet)
        for lost, packet in zip(trace, packets, strict=True)
    ]
    played.append(concealer.flush())
    expected = np.concatenate(played)[concealer.delay :]
    found = conceal(signal, trace, lookahead=lookahead, **STREAM)
    np.testing.assert_array_equal(found, expected.astype(signal.dtype))


@pytest.mark.parametrize("lookahead", [0, 2])
@pytest.mark.parametrize("rest", [1, 60, PACKET - 1])
def test_a_short_last_packet_may_be_lost(rest: int, lookahead: int) -> None:
    samples = 40 * PACKET + rest
    signal = sine(440.0, SAMPLE_RATE, samples)
    trace = np.arange(41) == 40
    out = conceal(signal, trace, lookahead=lookahead, **STREAM)
    assert out.shape == signal.shape
    np.testing.assert_array_equal(out[:-rest], signal[:-rest])
    np.testing.assert_allclose(out[-rest:], signal[-rest:], atol=0.02)


@pytest.mark.parametrize("lookahead", [0, 2])
def test_a_short_last_packet_that_arrived_is_played(lookahead: int) -> None:
    signal = noise(1, 10 * PACKET + 30)
    trace = np.arange(11) == 4
    out = conceal(signal, trace, lookahead=lookahead, **STREAM)
    np.testing.assert_array_equal(out[6 * PACKET :], signal[6 * PACKET :])


@pytest.mark.parametrize("shape", [(640,), (640, 1), (640, 2), (640, 8), (1,), (1, 2)])
@pytest.mark.parametrize("dtype", [np.float32, np.int16])
def test_shape_and_dtype_come_back(shape: tuple[int, ...], dtype: Any) -> None:
    signal = (100 * noise(0, int(np.prod(shape)))).astype(dtype).reshape(shape)
    before = signal.copy()
    out = conceal(signal, np.arange(-(-shape[0] // PACKET)) % 2 == 1, **STREAM)
    assert out.shape == shape
    assert out.dtype == dtype
    assert not np.shares_memory(out, signal)
    np.testing.assert_array_equal(signal, before)


def test_one_channel_flat_or_not_is_the_same() -> None:
    signal = tones(1, SAMPLE_RATE, 40 * PACKET)
    trace = np.arange(40) % 7 == 6
    flat = conceal(signal, trace, **STREAM)
    np.testing.assert_array_equal(conceal(signal[:, None], trace, **STREAM)[:, 0], flat)


@pytest.mark.parametrize("method", ["auto", "burg"])
@pytest.mark.parametrize("lookahead", [0, 2])
def test_what_stands_in_lost_packets_is_not_looked_at(method: str, lookahead: int) -> None:
    signal = stereo(60 * PACKET)
    trace = np.arange(60) % 9 == 8
    hidden = signal.copy()
    hidden.reshape(60, PACKET, 2)[trace] = np.nan
    settings = {"method": method, "lookahead": lookahead, **STREAM}
    np.testing.assert_array_equal(
        conceal(hidden, trace, **settings), conceal(signal, trace, **settings)
    )


def test_int16_is_concealed_as_well_as_float32() -> None:
    signal = tones(3, SAMPLE_RATE, 100 * PACKET, 0.05)
    trace = np.arange(100) % 10 == 9
    floats = conceal(signal, trace, **STREAM)
    integers = conceal(as_int16(signal), trace, **STREAM)
    lost = np.repeat(trace, PACKET)

    def error_db(out: NDArray[Any]) -> float:
        return float(10 * np.log10(np.sum((out - signal)[lost] ** 2) / np.sum(signal[lost] ** 2)))

    as_floats = error_db(floats.astype(np.float64))
    assert error_db(integers / 32767.0) < max(as_floats, -30.0) + 1.0


@pytest.mark.parametrize("trace", [[True, False, True], [1, 0, 1], np.array([1, 0, 1], np.int8)])
def test_a_trace_is_anything_of_true_and_false(trace: Any) -> None:
    signal = noise(1, 3 * PACKET)
    expected = conceal(signal, np.array([True, False, True]), **STREAM)
    np.testing.assert_array_equal(conceal(signal, trace, **STREAM), expected)


@pytest.mark.parametrize(("samples", "needed"), [(3 * PACKET, 3), (3 * PACKET + 1, 4)])
@pytest.mark.parametrize("given", [2, 6])
def test_a_trace_of_other_packets_says_how_many_there_are(
    samples: int, needed: int, given: int
) -> None:
    with pytest.raises(
        TraceError,
        match=f"the trace has {given} packets; {samples} samples in packets of 128 are {needed}",
    ):
        conceal(noise(1, samples), [False] * given, **STREAM)


def test_a_trace_may_end_with_a_packet_that_the_signal_lacks() -> None:
    signal, trace = noise(1, 3 * PACKET), np.array([False, True, False])
    longer = np.append(trace, True)
    expected = conceal(signal, trace, **STREAM)
    np.testing.assert_array_equal(conceal(signal, longer, **STREAM), expected)


def test_a_trace_is_of_10_ms_at_every_rate() -> None:
    signal = tones(1, 44_100, 44_100)
    trace = np.arange(100) % 9 == 8
    heard = conceal(signal, trace, sample_rate=44_100)
    expected = conceal(signal, np.repeat(trace, 441), sample_rate=44_100, packet_samples=441)
    np.testing.assert_array_equal(heard, expected)
    with pytest.raises(TraceError, match="packet_samples or packet_ms"):
        conceal(signal, trace, sample_rate=44_100, packet_ms=20)


def test_integers_given_as_float_are_told_once_for_each_stream_and_signal(
    caplog: pytest.LogCaptureFixture,
) -> None:
    quiet = tones(1, SAMPLE_RATE, 20 * PACKET)
    loud = quiet * np.float32(3000)

    def heard(signal: NDArray[np.float32]) -> None:
        with Concealer(**STREAM) as stream:
            for packet in (*quiet.reshape(-1, PACKET), *signal.reshape(-1, PACKET)):
                stream.push(packet)

    lost = loud.copy()
    lost[:PACKET] = np.nan  # what is lost is often marked so
    for what, told in (
        *((lambda: heard(loud), 1), (lambda: heard(loud), 1), (lambda: heard(quiet), 0)),
        (lambda: conceal(lost, [(0, PACKET)], sample_rate=SAMPLE_RATE), 1),
        (lambda: inpaint(lost, [(0, PACKET)], sample_rate=SAMPLE_RATE), 1),
        (lambda: detect(loud, sample_rate=SAMPLE_RATE), 1),
    ):
        caplog.clear()
        what()
        assert ["full scale is 1.0" in line for line in caplog.messages] == [True] * told
        assert all(record.levelname == "WARNING" for record in caplog.records)


@pytest.mark.parametrize(
    ("signal", "message"),
    [
        (np.zeros((2, 3, 4), np.float32), r"signal is float32 \(2, 3, 4\); give float32 .*\(n,\)"),
        (np.zeros((0, 2), np.float32), r"signal is float32 \(0, 2\).*n > 0"),
        (np.zeros(0, np.float32), r"signal is float32 \(0,\).*n > 0"),
        (np.float32(1.0), r"signal is float32 \(\)"),
        ([0.0, 1.0], "signal is list"),
        (None, "signal is NoneType"),
    ],
)
def test_a_wrong_signal_names_what_would_do(signal: Any, message: str) -> None:
    with pytest.raises(PacketError, match=message):
        conceal(signal, [False], **STREAM)


@pytest.mark.parametrize("dtype", [np.float64, np.int32, np.complex64, bool])
@pytest.mark.parametrize("lost", [False, True])
def test_a_wrong_dtype_is_refused_even_where_all_is_lost(dtype: Any, lost: bool) -> None:
    with pytest.raises(PacketError, match=rf"{np.dtype(dtype)}.*float32.*int16"):
        conceal(np.zeros(PACKET, dtype), [lost], **STREAM)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"sample_rate": 4000}, "sample_rate is 4000"),
        ({"packet_samples": 0}, "packet_samples is 0"),
        ({"lookahead": -1}, "lookahead is -1"),
        ({"method": "magic"}, "method is 'magic'"),
        ({"budget_ms": 0.0}, "budget_ms is 0"),
    ],
)
def test_a_wrong_setting_is_refused(setting: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        conceal(noise(1, 2 * PACKET), [False, True], **(STREAM | setting))


def test_an_unknown_model_is_refused() -> None:
    with pytest.raises(ModelError, match="model is 'magic'"):
        conceal(noise(1, 2 * PACKET), [False, True], model="magic", **STREAM)


def test_marks_of_another_length_are_refused() -> None:
    with pytest.raises(PacketError, match="made_up has shape"):
        conceal(noise(1, 2 * PACKET), [False, True], made_up=np.zeros(5, np.bool_), **STREAM)


def test_more_channels_than_there_may_be_are_refused() -> None:
    with pytest.raises(ConfigError, match="channels is 9; supported: 1 to 8"):
        conceal(np.zeros((640, 9), np.float32), np.zeros(5, bool), **STREAM)


@pytest.mark.parametrize("lookahead", [0, 2])
@pytest.mark.parametrize("rest", [0, 50])
def test_a_mask_of_whole_packets_and_their_gaps_are_what_a_trace_is(
    lookahead: int, rest: int
) -> None:
    signal = stereo(40 * PACKET - rest)
    trace = np.arange(40) % 9 >= 7
    trace[-1] = True
    mask = np.repeat(trace, PACKET)[: len(signal)]
    expected = conceal(signal, trace, lookahead=lookahead, **STREAM)
    gaps = [(7 * PACKET + 9 * PACKET * k, 9 * PACKET + 9 * PACKET * k) for k in range(4)]
    gaps.append((39 * PACKET, len(signal)))
    for lost in (mask, mask.tolist(), gaps):
        np.testing.assert_array_equal(
            conceal(signal, lost, lookahead=lookahead, **STREAM), expected
        )


def test_samples_that_are_lost_within_packets_are_concealed_alone() -> None:
    signal = tones(1, SAMPLE_RATE, 40 * PACKET)
    mask = np.zeros(len(signal), bool)
    mask[20 * PACKET + 30 : 20 * PACKET + 60] = True
    mask[21 * PACKET + 100 : 23 * PACKET + 5] = True
    hidden = signal.copy()
    hidden[mask] = np.nan
    out = conceal(hidden, mask, **STREAM)
    np.testing.assert_array_equal(out, conceal(signal, mask, **STREAM))
    assert np.isfinite(out).all()
    np.testing.assert_array_equal(out[: 20 * PACKET + 30], signal[: 20 * PACKET + 30])
    assert (out[mask] != 0.0).all()
    error = out[mask] - signal[mask]
    assert np.sum(error**2) < 0.1 * np.sum(signal[mask] ** 2)


def test_tensors_of_torch_are_concealed() -> None:
    torch = pytest.importorskip("torch")
    signal = stereo(20 * PACKET)
    trace = np.arange(20) == 12
    out = conceal(torch.from_numpy(signal), torch.from_numpy(trace), **STREAM)
    np.testing.assert_array_equal(out, conceal(signal, trace, **STREAM))


@pytest.mark.parametrize("lookahead", [0, 2])
def test_what_was_made_up_is_told_sample_for_sample(lookahead: int) -> None:
    signal = tones(1, 16_000, 16_000).astype(np.float32)
    signal[5_000] = np.nan
    lost = [(1_000, 1_700), (9_000, 9_001), (15_990, 16_000)]
    made_up = np.ones(16_000, np.bool_)
    conceal(signal, lost, sample_rate=16_000, lookahead=lookahead, method="ar", made_up=made_up)
    expected = np.zeros(16_000, np.bool_)
    for start, stop in [*lost, (4_960, 5_120)]:  # a packet with NaN is refused
        expected[start:stop] = True
    np.testing.assert_array_equal(made_up, expected)
    concealer = Concealer(16_000, 1, 160, lookahead, method="ar", budget_ms=np.inf)
    told = []
    for k, packet in enumerate(signal.reshape(-1, 160)):
        missing = ((10, 20),) if k == 7 else ()
        concealer.push(None if k in (20, 21) else packet, missing=missing)
        told.append(concealer.made_up)
    whole = np.concatenate(told)
    delay = lookahead * 160
    assert np.flatnonzero(whole[delay:][:3000]).tolist() == list(range(1130, 1140))
    assert np.flatnonzero(whole[delay:][3000:4000] == 1).tolist() == list(range(200, 520))
    concealer.flush()
    assert not concealer.made_up.any()


@pytest.mark.parametrize("method", ["auto", "ar"])
def test_a_refused_packet_is_made_up(method: Any) -> None:
    concealer = Concealer(sample_rate=16_000, packet_samples=160, method=method)
    sound = 0.1 * noise(5, 160)[:, None]
    unsound = sound.copy()
    unsound[3] = np.nan
    for packet, expected in ((sound, 0), (unsound, 160), (sound, 0), (None, 160)):
        concealer.push(packet)
        assert np.count_nonzero(concealer.made_up) == expected
