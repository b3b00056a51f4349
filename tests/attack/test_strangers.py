"""Strangers at a relay's port: who sends beside a stream, or in its pauses, does not get it."""

import math
import random

import numpy as np
import pytest
from numpy.typing import NDArray

from plc.transport.relay.relayed import RelayConfig, StreamRelay
from plc.transport.rtp.codecs import L16
from plc.transport.rtp.delay import DelayConfig, DelayMode
from plc.transport.rtp.latch import LAPSE_S, PROBATION_S, QUIET_S, RELEASE_S, Latch
from plc.transport.rtp.outcomes import Verdict
from plc.transport.rtp.packetizer import Packetizer
from plc.transport.rtp.udp import Address, Endpoint
from tests.plc.configs import changed

RATE = 8000
BLOCK = 160
TICK_S = BLOCK / RATE
DELAY_S = 0.06
OWNER = ("192.0.2.1", 4000)
NEIGHBOUR = ("192.0.2.1", 4001)  # another program of the same host
FAR = ("192.0.2.2", 4000)
# By their levels it can be told whose samples are played.
OWNS, STEALS = np.float32(0.125), np.float32(0.25)

Sent = list[tuple[float, bytes, Address]]


def stream(
    begin_s: float,
    until_s: float,
    source: Address,
    level: np.float32,
    ssrc: int,
    sequence: int = 0,
) -> Sent:
    """Return packets of one level, timed by when they are sent."""
    packetizer = Packetizer(
        L16(RATE, 1), ssrc=ssrc, sequence=sequence, timestamp=round(begin_s * RATE)
    )
    block = np.full((BLOCK, 1), level)
    count = round((until_s - begin_s) / TICK_S)
    return [(begin_s + k * TICK_S, packetizer.pack(block), source) for k in range(count)]


def with_pause(pause_s: float, source_after: Address = OWNER) -> Sent:
    """Return a sender's packets: a second, a pause in which it sends nothing, another second."""
    before = stream(0.0, 1.0, OWNER, OWNS, ssrc=7)
    return before + stream(
        1.0 + pause_s, 2.0 + pause_s, source_after, OWNS, ssrc=7, sequence=len(before)
    )


def make() -> StreamRelay:
    return StreamRelay(
        changed(
            RelayConfig(listen=Endpoint("127.0.0.1", 0), to=Endpoint("127.0.0.1", 9)),
            sample_rate=RATE,
            packet_samples=BLOCK,
            delay=DelayConfig(mode=DelayMode.FIXED, delay_ms=1000.0 * DELAY_S),
            model="ar",
            budget_ms=math.inf,
            seed=1,
        )
    )


def play(relay: StreamRelay, sent: Sent, until_s: float) -> NDArray[np.float32]:
    """Return what is played, in blocks by the time at which they are: shape (blocks, samples)."""
    waiting = sorted(sent, key=lambda each: each[0])
    place = 0
    played = np.zeros((round(until_s / TICK_S) + 1, BLOCK), np.float32)
    for tick in range(round(until_s / TICK_S)):
        now_s = tick * TICK_S
        while place < len(waiting) and waiting[place][0] <= now_s + 1e-9:
            at_s, datagram, source = waiting[place]
            relay.receive(datagram, source, at_s)
            place += 1
        while relay.next_s <= now_s:
            block = relay.play(now_s)
            if block is not None:
                played[tick] = block[:, 0]
    return played


def times(played: NDArray[np.float32], level: np.float32) -> NDArray[np.float64]:
    """Return when blocks of that level alone were played."""
    # Where the delay is brought back to its aim, samples are resampled and not exact.
    blocks = np.flatnonzero((np.abs(played - level) < 1e-3).all(axis=1))
    return blocks.astype(np.float64) * TICK_S


@pytest.mark.parametrize("thief", [NEIGHBOUR, FAR])
@pytest.mark.parametrize("pause_s", [0.26, 0.4, 1.0, 1.9])
def test_in_a_pause_of_the_sender_nobody_takes_its_stream(pause_s: float, thief: Address) -> None:
    theft = stream(0.505, 3.0 + pause_s, thief, STEALS, ssrc=8)
    relay = make()
    played = play(relay, with_pause(pause_s) + theft, 2.0 + pause_s)
    assert not times(played, STEALS).size
    assert times(played, OWNS)[-1] > 1.9 + pause_s
    assert relay.latch.source == OWNER
    assert relay.stats.source_changes == 0
    assert relay.stats.refused_datagrams >= 0.95 * (1.4 + pause_s) / TICK_S


@pytest.mark.parametrize("pause_s", [3.0, 5.0, 20.0])
def test_after_a_longer_pause_the_sender_has_its_stream_back_at_once(pause_s: float) -> None:
    theft = stream(0.505, 3.0 + pause_s, NEIGHBOUR, STEALS, ssrc=8)
    relay = make()
    played = play(relay, with_pause(pause_s) + theft, 2.0 + pause_s)
    stolen = times(played, STEALS)
    assert stolen[0] >= 1.0 + RELEASE_S - TICK_S
    # Its packets are dropped; what is concealed until the sender's are due sounds like it.
    assert stolen[-1] <= 1.0 + pause_s + DELAY_S + 2 * TICK_S
    again = times(played, OWNS)
    again = again[again > 1.5]
    assert again[0] <= 1.0 + pause_s + DELAY_S + 4 * TICK_S
    assert relay.latch.source == OWNER
    assert relay.stats.source_changes == 2


def test_who_took_over_does_not_keep_taking_over() -> None:
    """The sender has pauses of 0.3 to 1.5 s after one of 4 s; the thief sends all the time."""
    rng = random.Random(1)
    sent, at_s, sequence = stream(0.0, 1.0, OWNER, OWNS, ssrc=7), 1.0, 50
    for pause_s in [4.0, *(rng.uniform(0.3, 1.5) for _ in range(12))]:
        at_s += pause_s
        sent += stream(at_s, at_s + 0.2, OWNER, OWNS, ssrc=7, sequence=sequence)
        sequence += 10
        at_s += 0.2
    relay = make()
    played = play(relay, sent + stream(0.5, at_s, NEIGHBOUR, STEALS, ssrc=8), at_s)
    assert times(played, STEALS)[-1] <= 5.0 + DELAY_S + 2 * TICK_S
    assert relay.stats.source_changes == 2


def test_a_chain_of_strangers_does_not_wear_out_the_seniority_of_the_sender() -> None:
    pause_s = 20.0
    sent = with_pause(pause_s)
    for k in range(6):  # each begins as the one before falls silent
        begin_s = 1.0 + 3.2 * k
        sent += stream(begin_s, begin_s + 3.2, (NEIGHBOUR[0], 5000 + k), STEALS, ssrc=80 + k)
    sent += stream(20.0, 24.0, FAR, STEALS, ssrc=99)
    relay = make()
    played = play(relay, sent, 2.0 + pause_s)
    assert relay.latch.source == OWNER
    assert times(played, STEALS)[-1] <= 1.0 + pause_s + DELAY_S + 2 * TICK_S


@pytest.mark.parametrize("address", [NEIGHBOUR, FAR])
def test_a_sender_whose_port_has_changed_goes_on_at_once(address: Address) -> None:
    """A NAT binds anew: same SSRC, numbers that continue; the old address is silent."""
    theft = stream(0.505, 2.0, ("192.0.2.1", 6000), STEALS, ssrc=8)
    relay = make()
    pause_s = QUIET_S + 0.1
    played = play(relay, with_pause(pause_s, address) + theft, 2.0 + pause_s)
    assert not times(played, STEALS).size
    again = times(played, OWNS)
    assert again[again > 1.2][0] <= 1.0 + pause_s + DELAY_S + 2 * TICK_S
    assert relay.latch.source == address


def test_the_numbers_of_a_stream_alone_do_not_take_it_from_a_sender_that_sends() -> None:
    relay = make()
    copies = [(at_s + 0.001, datagram, FAR) for at_s, datagram, _ in with_pause(0.0)]
    play(relay, with_pause(0.0) + copies, 2.0)
    assert relay.latch.source == OWNER
    assert relay.stats.refused_datagrams >= len(copies) - 2
    assert relay.playout.received.duplicate_packets == 0


def test_a_sender_started_again_at_its_address_is_followed_at_once() -> None:
    relay = make()
    sent = stream(0.0, 1.0, OWNER, OWNS, ssrc=7)
    sent += stream(1.1, 2.0, OWNER, STEALS, ssrc=8, sequence=5000)
    assert times(play(relay, sent, 2.0), STEALS)[0] <= 1.1 + DELAY_S + 4 * TICK_S


def test_a_sender_started_again_at_another_port_waits_for_the_silence() -> None:
    relay = make()
    sent = stream(0.0, 1.0, OWNER, OWNS, ssrc=7)
    sent += stream(1.1, 5.0, NEIGHBOUR, STEALS, ssrc=8, sequence=5000)
    first_s = times(play(relay, sent, 5.0), STEALS)[0]
    assert 1.0 + RELEASE_S - TICK_S <= first_s <= 1.0 + RELEASE_S + DELAY_S + 4 * TICK_S


def test_comfort_noise_and_keepalives_of_the_sender_keep_its_place() -> None:
    noise = Packetizer(L16(RATE, 1), ssrc=7, sequence=50, payload_type=13)
    block = np.zeros((1, 1), np.float32)
    kept = [(1.0 + 0.4 * k, noise.pack(block), OWNER) for k in range(1, 12)]
    relay = make()
    theft = stream(0.5, 6.0, NEIGHBOUR, STEALS, ssrc=8)
    played = play(relay, stream(0.0, 1.0, OWNER, OWNS, ssrc=7) + kept + theft, 6.0)
    assert not times(played, STEALS).size


def test_what_comes_in_bits_gets_no_stream_however_long_the_sender_is_silent() -> None:
    """A newcomer is heard without a break for half a second."""
    latch = Latch()
    first = stream(0.0, TICK_S, OWNER, OWNS, ssrc=7)[0][1]
    latch.heard(OWNER, first, Verdict.ACCEPTED, 0.0)
    bits: Sent = []
    for k in range(40):
        bits += stream(0.5 * k, 0.5 * k + 0.2, NEIGHBOUR, STEALS, ssrc=8, sequence=25 * k)
    assert not any(latch.admits(source, each, at_s) for at_s, each, source in bits)
    steady = stream(20.0, 20.0 + 2 * PROBATION_S, FAR, STEALS, ssrc=9)
    admitted = [at_s for at_s, each, source in steady if latch.admits(source, each, at_s)]
    assert admitted[0] == pytest.approx(20.0 + PROBATION_S, abs=2 * TICK_S)


def test_thousands_of_sources_take_no_memory_and_do_not_hide_a_newcomer() -> None:
    rng = random.Random(1)
    sent = stream(0.0, 1.0, OWNER, OWNS, ssrc=7)
    sent += stream(1.5, 5.0, FAR, STEALS, ssrc=8)
    for at_s in np.arange(1.0, 4.5, 0.001).tolist():
        source = (f"198.51.100.{rng.randrange(256)}", rng.randrange(65536))
        sent += [(at_s, stream(0.0, TICK_S, source, STEALS, rng.getrandbits(32))[0][1], source)]
    relay = make()
    play(relay, sent, 5.0)
    assert len(relay.latch._runs) <= 32
    assert len(relay.latch._firsts) <= 256
    assert relay.latch.source == FAR
    assert relay.stats.source_changes == 1


def test_garbage_of_strangers_in_a_pause_is_refused() -> None:
    rng = random.Random(2)
    garbage: Sent = [
        (rng.uniform(0.5, 5.0), rng.randbytes(rng.randrange(40)), NEIGHBOUR) for _ in range(2000)
    ]
    relay = make()
    played = play(relay, with_pause(4.0) + garbage, 6.0)
    assert relay.latch.source == OWNER
    assert times(played, OWNS)[-1] > 5.9
    assert relay.stats.refused_datagrams == sum(at_s > 0.0 for at_s, _, _ in garbage)


def test_a_claim_lapses_and_then_whoever_comes_is_heard_at_once() -> None:
    latch = Latch()
    mine, other = (
        stream(0.0, TICK_S, each, OWNS, ssrc=k)[0][1] for k, each in ((7, OWNER), (8, FAR))
    )
    latch.heard(OWNER, mine, Verdict.ACCEPTED, 0.0)
    assert not latch.admits(FAR, other, LAPSE_S - 0.1)
    assert latch.admits(FAR, other, LAPSE_S)
    latch.heard(FAR, other, Verdict.ACCEPTED, LAPSE_S)
    assert not latch.admits(OWNER, mine, LAPSE_S + 0.1)
