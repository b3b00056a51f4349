"""A bad network by a seed: the same one each time, and as bad as asked for."""

import math
import socket
from contextlib import closing

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from plc.engine.loss import TraceLosses
from plc.errors import ConfigError
from plc.transport.rtp.impair import ImpairConfig, Impairment, ImpairProxy
from plc.transport.rtp.udp import Endpoint, step
from tests.examples import examples

PACKET_S = 0.01


def run(
    config: ImpairConfig, count: int, seed: int = 1, size: int = 100
) -> tuple[Impairment, list[tuple[float, int]]]:
    """Send ``count`` numbered datagrams; return when each one came out, in order."""
    impairment = Impairment(config, seed)
    out: list[tuple[float, int]] = []

    def collect(now_s: float) -> None:
        while impairment.next_s <= now_s:
            due_s = impairment.next_s
            out.extend((due_s, int.from_bytes(d[:4], "big")) for d in impairment.due(due_s))

    for k in range(count):
        collect(k * PACKET_S)
        impairment.put(k.to_bytes(4, "big") + bytes(size - 4), k * PACKET_S)
    collect(1e9)
    return impairment, out


def test_a_perfect_network_changes_nothing() -> None:
    _, out = run(ImpairConfig(), 100)
    assert out == [(k * PACKET_S + 0.0, k) for k in range(100)]


def test_a_seed_says_what_becomes_of_every_datagram() -> None:
    config = ImpairConfig(loss=0.1, jitter_ms=30, reorder=0.05, duplicate=0.05)
    assert run(config, 500, seed=3)[1] == run(config, 500, seed=3)[1]
    assert run(config, 500, seed=3)[1] != run(config, 500, seed=4)[1]


def test_the_same_are_lost_whatever_else_happens() -> None:
    def survivors(**more: float) -> set[int]:
        return {k for _, k in run(ImpairConfig(loss=0.2, **more), 1000)[1]}  # type: ignore[arg-type]

    plain = survivors()
    assert survivors(jitter_ms=50, duplicate=0.3, reorder=0.2, delay_ms=5) == plain
    assert 150 < 1000 - len(plain) < 250


def test_losses_come_in_bursts_of_the_length_asked_for() -> None:
    _, out = run(ImpairConfig(loss=0.1, mean_burst=4.0), 20_000)
    lost = np.ones(20_000, bool)
    lost[[k for _, k in out]] = False
    begins = np.count_nonzero(lost[1:] & ~lost[:-1])
    assert lost.mean() == pytest.approx(0.1, abs=0.015)
    assert lost.sum() / begins == pytest.approx(4.0, rel=0.15)


def test_jitter_is_even_and_may_overtake() -> None:
    impairment, out = run(ImpairConfig(delay_ms=5, jitter_ms=30), 5000)
    late_s = np.array([at_s - k * PACKET_S for at_s, k in out])
    assert 0.005 <= late_s.min() < 0.006
    assert 0.034 < late_s.max() <= 0.035
    assert late_s.mean() == pytest.approx(0.02, abs=0.001)
    assert impairment.stats.reordered > 500


def test_in_order_none_overtakes() -> None:
    impairment, out = run(ImpairConfig(jitter_ms=50, in_order=True), 2000)
    assert [k for _, k in out] == list(range(2000))
    assert impairment.stats.reordered == 0


def test_what_is_held_back_is_overtaken() -> None:
    impairment, out = run(ImpairConfig(reorder=0.1, reorder_ms=25), 1000)
    assert sorted(k for _, k in out) == list(range(1000))
    assert impairment.stats.reordered == pytest.approx(100, abs=35)


def test_duplicates_come_twice() -> None:
    impairment, out = run(ImpairConfig(duplicate=0.2), 1000)
    assert len(out) == 1000 + impairment.stats.duplicated
    assert impairment.stats.duplicated == pytest.approx(200, abs=40)


def test_a_rate_cap_passes_no_more_than_it_says_and_queues_no_longer() -> None:
    # 100 packets a second of 1000 bytes are 800 kbit/s; 400 pass.
    impairment, out = run(ImpairConfig(rate_kbit_s=400, queue_ms=80), 1000, size=1000)
    assert impairment.stats.dropped == pytest.approx(500, abs=15)
    assert max(at_s - k * PACKET_S for at_s, k in out) <= 0.08 + 0.02 + 1e-9
    assert np.diff([at_s for at_s, _ in out]).min() >= 0.02 - 1e-9


def test_a_trace_says_which_are_lost() -> None:
    trace = np.arange(7) % 7 == 2
    impairment = Impairment(ImpairConfig(), losses=TraceLosses(trace, loop=True))
    for k in range(70):
        impairment.put(bytes([k]), 0.0)
    assert [d[0] for d in impairment.due(1.0)] == [k for k in range(70) if k % 7 != 2]


@examples(50)
@given(
    st.integers(0, 100),
    st.floats(0, 0.4),
    st.floats(0, 100),
    st.floats(0, 1),
    st.floats(0, 1),
    st.booleans(),
)
def test_every_datagram_is_accounted_for(
    count: int, loss: float, jitter_ms: float, reorder: float, duplicate: float, in_order: bool
) -> None:
    config = ImpairConfig(
        loss=loss,
        jitter_ms=jitter_ms,
        reorder=reorder,
        duplicate=duplicate,
        in_order=in_order,
        rate_kbit_s=70,
    )
    stats = run(config, count)[0].stats
    assert stats.received == count
    assert stats.received + stats.duplicated == stats.sent + stats.lost + stats.dropped


@pytest.mark.parametrize(
    "settings",
    [
        {"loss": 1.5},
        {"loss": 0.9, "mean_burst": 1.0},
        {"reorder": -0.1},
        {"duplicate": 2.0},
        {"jitter_ms": -1.0},
        {"jitter_ms": math.nan},
        {"rate_kbit_s": 0.0},
    ],
)
def test_impossible_settings_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(ConfigError):
        ImpairConfig(**settings)  # type: ignore[arg-type]  # one of several floats


def test_the_proxy_passes_datagrams_on_by_its_own_clock() -> None:
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver,
    ):
        receiver.bind(("127.0.0.1", 0))
        receiver.setblocking(False)
        to = Endpoint("127.0.0.1", receiver.getsockname()[1])
        with closing(
            ImpairProxy(Endpoint("127.0.0.1", 0), to, Impairment(ImpairConfig(delay_ms=20)))
        ) as proxy:
            for k in range(5):
                sender.sendto(bytes([k]), ("127.0.0.1", proxy.ports[0].endpoint.port))
            step(proxy, 1.0)
            with pytest.raises(BlockingIOError):
                receiver.recv(10)
            proxy.stop(1.01)
            assert not proxy.done
            step(proxy, 1.02)
            assert [receiver.recv(10)[0] for _ in range(5)] == list(range(5))
            assert proxy.done
