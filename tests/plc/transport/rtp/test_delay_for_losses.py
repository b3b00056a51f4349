"""The delay while packets are lost: for what is behind a hole, and for copies that come."""

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from plc.transport.rtp.codecs import L16
from plc.transport.rtp.delay import DelayConfig
from plc.transport.rtp.packets import RedBlock, RtpPacket, build_red, build_rtp
from plc.transport.rtp.playout import Playout
from tests.plc.configs import playout_of
from tests.plc.transport.streams import Incoming, as_sent
from tests.signals import noise

RATE, PACKET = 8000, 160
TICK_S = PACKET / RATE
CODEC = L16(RATE, 1)
USUAL = DelayConfig()


def received(
    lost: NDArray[np.bool_],
    distances: tuple[int, ...] = (),
    delay: DelayConfig = USUAL,
) -> tuple[Playout, NDArray[np.float64]]:
    """Play a stream of 20 ms, 1 ms of jitter; return the playout, and its aim at each tick in ms.

    Each packet has copies of those that lie ``distances`` before it.
    """
    signal = as_sent(noise(3, lost.size * PACKET))[:, None]
    payloads = [CODEC.encode(signal[at : at + PACKET]) for at in range(0, len(signal), PACKET)]
    comes = np.arange(lost.size) * TICK_S + np.random.default_rng(0).exponential(0.001, lost.size)
    arrivals = []
    for k in np.flatnonzero(~lost).tolist():
        blocks = [RedBlock(96, PACKET * d, payloads[k - d]) for d in distances[::-1] if k >= d]
        payload = build_red([*blocks, RedBlock(96, 0, payloads[k])])
        arrivals.append((float(comes[k]), build_rtp(RtpPacket(99, k, PACKET * k, 5, payload))))
    playout = playout_of(CODEC, PACKET, delay, red_payload_type=99, model="ar", budget_ms=math.inf)
    incoming, aims = Incoming(arrivals), []
    for tick in range(lost.size + 5):
        for at_s, datagram in incoming.until(tick * TICK_S):
            playout.put(datagram, at_s)
        playout.tick(tick * TICK_S)
        aims.append(1000.0 * playout.buffer.receiver.target_s)
    return playout, np.array(aims)


def losses(seconds: float, share: float, seed: int = 0) -> NDArray[np.bool_]:
    lost: NDArray[np.bool_] = np.random.default_rng(seed).random(round(seconds / TICK_S)) < share
    return lost


CALM = losses(10, 0.0)


@pytest.mark.parametrize("distances", [(1,), (2,), (3,), (5,), (1, 2)])
def test_copies_are_waited_for_once_one_was_missed(distances: tuple[int, ...]) -> None:
    lost = np.concatenate([CALM[:50], losses(30, 0.05)])
    came = np.append(~lost, np.zeros(max(distances), np.bool_))
    could = sum(any(came[k + d] for d in distances) for k in np.flatnonzero(lost))
    playout, _ = received(lost, distances)
    assert could - 2 <= playout.received.redundant_packets <= could


def test_many_copies_in_each_packet_ask_for_the_next_packet_alone() -> None:
    _, aims = received(np.concatenate([CALM[:50], losses(30, 0.05)]), tuple(range(1, 30)))
    assert aims[-500:].max() < 2 * 20.0


@pytest.mark.parametrize(("share", "packets"), [(0.1, 1), (0.4, 2)])
def test_the_delay_reaches_behind_holes_while_packets_are_lost(share: float, packets: int) -> None:
    _, aims = received(np.concatenate([CALM, losses(15, share), CALM, CALM[:100]]))
    before, lossy, after = aims[400:500], aims[1000:1250], aims[-100:]
    assert before.max() < 12.0
    assert packets * 20.0 <= np.median(lossy) <= packets * 20.0 + 8.0
    assert after.max() < 12.0  # 10 s later


def test_nothing_is_added_for_few_losses() -> None:
    lost = np.zeros(2000, np.bool_)
    lost[500::110] = True
    _, aims = received(lost)
    assert aims[400:].max() < 12.0


def test_who_wants_the_least_delay_gets_none_for_losses() -> None:
    _, aims = received(np.concatenate([CALM, losses(15, 0.4)]), delay=DelayConfig(safety=0.0))
    assert aims[400:].max() < 12.0


def test_the_delay_for_losses_stays_below_the_largest() -> None:
    _, aims = received(
        np.concatenate([CALM, losses(15, 0.4)]), (5,), DelayConfig(max_delay_ms=30.0)
    )
    assert aims.max() <= 30.0
