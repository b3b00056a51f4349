"""Many streams in one call are what they are one by one."""

import threading

import numpy as np
import pytest
from numpy.typing import NDArray

from plc import Concealer, Concealers
from plc.errors import ConfigError, PacketError
from tests.signals import glide, noise, tones

RATE = 16_000
PACKET = 160
TICKS = 60


def packets_of(streams: int, dtype: type = np.float32) -> NDArray[np.float32]:
    """Return a piece for each stream, shape (ticks, streams, packet_samples, 1)."""
    n = TICKS * PACKET
    rows = [glide(k, RATE, n) if k % 2 else tones(k, RATE, n) for k in range(streams)]
    signal = np.stack(rows).reshape(streams, TICKS, PACKET, 1).transpose(1, 0, 2, 3)
    if dtype is np.int16:
        signal = np.round(signal * 20_000)
    return np.ascontiguousarray(signal.astype(dtype))


def losses(streams: int) -> NDArray[np.bool_]:
    arrived = np.random.default_rng(3).random((TICKS, streams)) > 0.2
    arrived[30:50, 0] = False  # past the fade
    return arrived


@pytest.mark.parametrize("dtype", [np.float32, np.int16])
@pytest.mark.parametrize(("lookahead", "threads"), [(0, 1), (2, 3)])
def test_each_stream_plays_what_it_plays_alone(dtype: type, lookahead: int, threads: int) -> None:
    streams = 5
    packets, arrived = packets_of(streams, dtype), losses(streams)
    group = Concealers(
        streams, RATE, 1, PACKET, lookahead, method="burg:5/30", threads=threads, seed=7
    )
    alone = [
        Concealer(RATE, 1, PACKET, lookahead, method="burg:5/30", seed=7 + k)
        for k in range(streams)
    ]
    for tick in range(TICKS):
        played = group.push(packets[tick], arrived[tick])
        assert played.dtype == dtype
        for k, one in enumerate(alone):
            expected = one.push(packets[tick, k] if arrived[tick, k] else None)
            if dtype is np.float32 or tick > 0:
                np.testing.assert_array_equal(played[k], expected)
    for k, one in enumerate(alone):
        assert group.stats[k].concealed_samples == one.stats.concealed_samples
        assert group.stats[k].concealment_events == one.stats.concealment_events
    group.close()


def test_the_rungs_for_servers_conceal_and_are_counted() -> None:
    packets, arrived = packets_of(2), losses(2)
    arrived[0] = True
    group = Concealers(2, RATE, 1, PACKET, model="ar")
    played = np.empty_like(packets)
    made = np.zeros_like(arrived)
    for tick in range(TICKS):
        group.push(packets[tick], arrived[tick], played[tick])
        made[tick] = group.concealed
    np.testing.assert_array_equal(made, ~arrived)
    np.testing.assert_array_equal(played[0], packets[0])
    lost = ~arrived[:, 0]
    lost[30:50] = False
    error = played[lost, 0] - packets[lost, 0]
    assert np.sum(error**2) < 0.5 * np.sum(packets[lost, 0] ** 2)
    rungs = group.stats[0].rung_samples
    assert set(rungs) == {"ar:4/20", "ar:2.5/15", "noise"}
    assert sum(rungs.values()) == group.stats[0].concealed_samples


def test_a_fit_serves_again_for_a_while_in_steady_content_alone() -> None:
    """The same burst twice within 50 ms costs one fit; the streams still differ from no refit."""
    tone = tones(1, RATE, TICKS * PACKET).reshape(TICKS, 1, PACKET, 1)
    arrived = np.ones((TICKS, 1), bool)
    arrived[[40, 42]] = False
    served, fitted = Concealers(1, RATE, 1, PACKET), Concealers(1, RATE, 1, PACKET)
    from plc_kernels.stream.layout import REFIT

    fitted._blocks[:, REFIT] = 0
    for tick in range(TICKS):
        one = served.push(tone[tick], arrived[tick])
        other = fitted.push(tone[tick], arrived[tick])
        assert np.array_equal(one, other) == (tick < 42 or tick > 43)


def test_out_may_be_the_packets_themselves() -> None:
    packets, arrived = packets_of(3), losses(3)
    one, other = (Concealers(3, RATE, 1, PACKET) for _ in range(2))
    for tick in range(TICKS):
        expected = one.push(packets[tick], arrived[tick])
        there = packets[tick].copy()
        assert other.push(there, arrived[tick], there) is there
        np.testing.assert_array_equal(there, expected)


def test_one_stream_or_all_begin_anew() -> None:
    packets, arrived = packets_of(2), losses(2)
    group = Concealers(2, RATE, 1, PACKET)
    first = [group.push(packets[tick], arrived[tick]) for tick in range(TICKS)]
    group.reset(1)
    assert group.stats[1].packets == 0
    assert group.stats[0].packets == TICKS
    group.reset()
    again = [group.push(packets[tick], arrived[tick]) for tick in range(TICKS)]
    np.testing.assert_array_equal(first, again)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"streams": 0}, "streams is 0; give 1 to 65536"),
        ({"streams": 1, "threads": 0}, "threads is 0; give 1 to 64"),
        ({"streams": 1, "method": "zeros"}, "many streams take server, auto, ar or burg"),
        ({"streams": 1, "sample_rate": 7}, "sample_rate is 7"),
    ],
)
def test_a_wrong_setting_names_what_would_do(setting: dict[str, int], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Concealers(**setting)  # type: ignore[arg-type]  # on purpose


def test_wrong_arrays_are_refused_and_no_stream_goes_on() -> None:
    group = Concealers(2, RATE, 1, PACKET)
    packets, arrived = np.zeros((2, PACKET, 1), np.float32), np.ones(2, bool)
    wrong = [
        ((packets[:1], arrived), "packets is float32"),
        ((packets.astype(np.float64), arrived), r"give np.asarray\(packets, np.float32\)$"),
        ((packets.swapaxes(1, 2), arrived), r"push np.swapaxes\(packets, 1, 2\)$"),
        ((packets[..., 0], arrived), r"push packets\[..., None\]$"),
        (([packets.tolist()], arrived), "packets is list; give a numpy array"),
        ((packets, arrived[:1]), "arrived is .*; give bool of shape"),
        ((packets, arrived.astype(int)), "arrived is .*; give bool of shape"),
        ((packets, arrived, packets[:, :80]), "out must be"),
        ((packets, arrived, packets.astype(np.int16)), "out must be"),
    ]
    for arguments, message in wrong:
        with pytest.raises(PacketError, match=message):
            group.push(*arguments)  # type: ignore[arg-type]  # on purpose
    assert group.stats[0].packets == 0


def test_a_packet_with_nan_is_lost_to_its_stream_alone() -> None:
    group = Concealers(2, RATE, 1, PACKET)
    signal = noise(1, 2 * PACKET).reshape(2, PACKET, 1)
    for _ in range(5):
        group.push(signal, np.ones(2, bool))
    bad = signal.copy()
    bad[0, 3] = np.nan
    played = group.push(bad, np.ones(2, bool))
    assert np.isfinite(played).all()
    assert group.concealed.tolist() == [True, False]
    assert [stats.invalid_packets for stats in group.stats] == [1, 0]


def test_tensors_of_torch_are_taken() -> None:
    torch = pytest.importorskip("torch")
    packets, arrived = packets_of(2), losses(2)
    one, other = (Concealers(2, RATE, 1, PACKET) for _ in range(2))
    for tick in range(5):
        played = one.push(torch.from_numpy(packets[tick]), torch.from_numpy(arrived[tick]))
        np.testing.assert_array_equal(played, other.push(packets[tick], arrived[tick]))


def test_leaving_it_ends_the_threads_and_one_thread_can_go_on() -> None:
    packets, arrived = packets_of(4), losses(4)
    alone = Concealers(4, RATE, 1, PACKET)
    before = threading.active_count()
    with Concealers(4, RATE, 1, PACKET, threads=3) as group:
        for tick in range(5):
            np.testing.assert_array_equal(
                group.push(packets[tick], arrived[tick]), alone.push(packets[tick], arrived[tick])
            )
        assert threading.active_count() > before
    assert threading.active_count() == before
    np.testing.assert_array_equal(
        group.push(packets[5], arrived[5]), alone.push(packets[5], arrived[5])
    )


def test_its_text_tells_the_format_and_the_losses_of_all() -> None:
    group = Concealers(3, RATE, 1, PACKET)
    group.push(np.zeros((3, PACKET, 1), np.float32), np.array([True, False, False]))
    assert repr(group) == (
        "<Concealers of 3 streams of 16000 Hz, 1 channel, packets of 160 samples (10 ms), "
        "lookahead 0, method 'server', no time limit; packets=3 lost_packets=2 "
        "concealed_samples=320 concealment_events=2>"
    )


@pytest.mark.parametrize("stream", [-1, 2])
def test_a_stream_that_there_is_not_cannot_begin_anew(stream: int) -> None:
    with pytest.raises(ConfigError, match=f"stream is {stream}; give 0 to 1, or None for all"):
        Concealers(2, RATE, 1, PACKET).reset(stream)
