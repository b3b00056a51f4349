"""Clocks that jump, stand still, run backwards or are no number: sound goes on, nobody waits."""

import math
import random
import socket
import time
from collections.abc import Callable
from contextlib import closing
from functools import partial

import numpy as np
import pytest

from plc import Concealer
from plc.transport.cards.devices import DevicePort
from plc.transport.live.ends import NetworkSource, PlayClock
from plc.transport.live.live import LiveConfig, LiveEngine
from plc.transport.relay.relayed import RelayConfig, StreamRelay
from plc.transport.rtp.codecs import L16
from plc.transport.rtp.delay import DelayConfig, DelayMode
from plc.transport.rtp.jitter import PACKETS_MAX
from plc.transport.rtp.latch import LAPSE_S, QUIET_S, RateCap
from plc.transport.rtp.packetizer import Packetizer
from plc.transport.rtp.playout import Playout
from plc.transport.rtp.udp import Endpoint
from tests.examples import some
from tests.plc import configs
from tests.plc.fake_devices import FakeBackend, card
from tests.signals import tones

RATE = 16_000
BLOCK = 160
TICK_S = BLOCK / RATE
HOUR_S = 3600.0
JUMP_AT = 200
"""Packet before which a clock jumps."""
AGAIN_WITHIN_S = 1.0
"""Time of the stream after which a jump of the clock is no longer heard."""
PATIENCE_S = 10.0
# What 0.3 of full scale on average peaks at, and a concealment and a resampler beyond that.
LOUDEST = 2.0
SOURCE = ("192.0.2.1", 4000)

Clock = Callable[[int], float]
"""Packets pushed so far to what the clock then says."""

JUMPS: dict[str, Clock] = {
    "an hour ahead": lambda k: k * TICK_S + HOUR_S * (k >= JUMP_AT),
    "an hour back": lambda k: k * TICK_S - HOUR_S * (k >= JUMP_AT),
    "five hours back": lambda k: k * TICK_S - 5 * HOUR_S * (k >= JUMP_AT),
    "2 s ahead": lambda k: k * TICK_S + 2.0 * (k >= JUMP_AT),
    "2 s back": lambda k: k * TICK_S - 2.0 * (k >= JUMP_AT),
    "an hour ahead and back": lambda k: k * TICK_S + HOUR_S * (JUMP_AT <= k < JUMP_AT + 100),
    "an hour back and ahead": lambda k: k * TICK_S - HOUR_S * (JUMP_AT <= k < JUMP_AT + 100),
    "ahead every second": lambda k: k * TICK_S + HOUR_S * (k // 100),
    "back every second": lambda k: k * TICK_S - HOUR_S * (k // 100),
    "to and fro": lambda k: k * TICK_S + HOUR_S * (k // 100 % 2),
    "stands still for 2 s": lambda k: TICK_S * (k if k < JUMP_AT else max(JUMP_AT, k - 200)),
}
NO_CLOCKS: dict[str, Clock] = JUMPS | {
    "stands still": lambda k: 0.0,
    "runs backwards": lambda k: -k * TICK_S,
    "NaN": lambda k: math.nan,
    "NaN at times": lambda k: math.nan if k % 7 == 0 else k * TICK_S,
    "infinite": lambda k: math.inf,
    "infinite at times": lambda k: -math.inf if k % 5 == 0 else k * TICK_S,
    "random": lambda k: random.Random(k).uniform(-1e300, 1e300),
}
SETTLED = [name for name in JUMPS if "every" not in name and name != "to and fro"]


class Reading:
    """A clock that says something else each time it is read, as ``clock`` has it."""

    def __init__(self, clock: Clock, steps: int) -> None:
        self._clock = clock
        self._steps = steps
        self.reads = 0

    def __call__(self) -> float:
        self.reads += 1
        return self._clock(self.reads // self._steps)


# ---- the engine ---------------------------------------------------------------------------------


@some("steps", [1, 3, 4])
@pytest.mark.parametrize("name", NO_CLOCKS)
def test_whatever_a_concealers_clocks_say_it_conceals(name: str, steps: int) -> None:
    signal = tones(3, RATE, 700 * BLOCK).reshape(-1, BLOCK, 1)
    lost = np.random.default_rng(1).random(len(signal)) < 0.3
    clock, cpu = Reading(NO_CLOCKS[name], steps), Reading(NO_CLOCKS[name], steps)
    concealer = Concealer(RATE, 1, BLOCK, model="ar", clock=clock, cpu_clock=cpu)
    out = [concealer.push(None if lost[k] else signal[k]) for k in range(len(signal))]
    heard = np.concatenate(out)
    assert np.isfinite(heard).all()
    assert np.abs(heard).max() < 2.0 * np.abs(signal).max()
    stats = concealer.stats
    assert stats.total_samples_received == heard.size
    assert stats.concealed_samples == lost.sum() * BLOCK
    report = stats.as_dict()
    for times in (report["good_time_ms"], report["concealed_time_ms"]):
        assert isinstance(times, dict)
        assert all(math.isfinite(each) for each in times.values())


@pytest.mark.parametrize("name", [*SETTLED, "NaN at times", "infinite at times"])
def test_after_a_jump_the_ladder_is_climbed_again(name: str) -> None:
    """A jump that looks like a concealment that took an hour costs seconds of cheaper ones."""
    now = 0

    def clock() -> float:
        return NO_CLOCKS[name](now) if now < 2 * JUMP_AT else now * TICK_S

    signal = tones(3, RATE, BLOCK * 2000).reshape(-1, BLOCK, 1)
    concealer = Concealer(RATE, 1, BLOCK, model="ar", budget_ms=1e6, clock=clock, cpu_clock=clock)
    best = concealer._method.names[0]
    made: list[str] = []
    for k, packet in enumerate(signal):
        concealer.push(None if k % 10 == 9 else packet)
        made += [concealer._method.name] * (k % 10 == 9)
        now += 1
    assert made[-1] == best


# ---- streams from the network --------------------------------------------------------------------


def tone_packets(count: int) -> list[bytes]:
    packetizer = Packetizer(L16(RATE, 1), ssrc=5, payload_type=96)
    signal = tones(3, RATE, count * BLOCK, 0.3)
    return [packetizer.pack(block[:, None]) for block in signal.reshape(-1, BLOCK)]


def playout_of(mode: DelayMode) -> Playout:
    delay = DelayConfig(
        mode=mode, max_delay_ms=200, delay_ms=0 if mode is DelayMode.ADAPTIVE else 60
    )
    codec = L16(RATE, 1)
    return configs.playout_of(codec, BLOCK, delay, payload_type=96, model="ar", budget_ms=math.inf)


@pytest.mark.parametrize("mode", list(DelayMode))
@some("name", JUMPS, 6)
def test_whatever_the_clock_of_a_playout_does_it_plays(name: str, mode: DelayMode) -> None:
    playout = playout_of(mode)
    received: list[int] = []
    for k, packet in enumerate(tone_packets(1000)):
        now_s = JUMPS[name](k)
        playout.put(packet, now_s)
        played = playout.tick(now_s)
        assert np.isfinite(played).all()
        assert np.abs(played).max() <= LOUDEST
        assert playout.buffer.receiver.units <= min(PACKETS_MAX, 400)
        received.append(playout.received.played_samples)
    if name in SETTLED:
        for begin in (JUMP_AT, JUMP_AT + 100, JUMP_AT + 200):
            at = begin + round(AGAIN_WITHIN_S / TICK_S)
            if begin == JUMP_AT + 200 or "and" not in name:
                # What comes is played: no more of it concealed than the end of a resampler.
                assert received[at + 100] - received[at] >= 98 * BLOCK
        assert playout.delay_s <= 0.2 + 4 * TICK_S


def relay_of() -> StreamRelay:
    return StreamRelay(
        configs.changed(
            RelayConfig(listen=Endpoint("127.0.0.1", 0), to=Endpoint("127.0.0.1", 9)),
            sample_rate=RATE,
            packet_samples=BLOCK,
            payload_type=96,
            model="ar",
            budget_ms=math.inf,
            seed=1,
        )
    )


@pytest.mark.parametrize("name", JUMPS)
def test_whatever_the_clock_of_a_relay_does_it_sends(name: str) -> None:
    relay = relay_of()
    sent: list[int] = []
    received: list[int] = []
    for k, packet in enumerate(tone_packets(1000)):
        now_s = JUMPS[name](k)
        relay.receive(packet, SOURCE, now_s)
        turns = 0
        while relay.next_s <= now_s:
            relay.play(now_s)
            turns += 1
            assert turns <= 150  # a sleep is left out, not made good
        sent.append(relay.stats.packets_sent)
        received.append(relay.playout.received.played_samples)
    assert relay.stats.capped_datagrams == 0
    if name in SETTLED:
        at = 2 * JUMP_AT + round(AGAIN_WITHIN_S / TICK_S)
        assert 98 <= sent[at + 100] - sent[at] <= 102
        assert received[at + 100] - received[at] >= 95 * BLOCK
        assert relay.playout.delay_s <= 0.2 + 4 * TICK_S


@pytest.mark.parametrize("back_s", [2.0, 60.0, HOUR_S, 24 * HOUR_S])
def test_a_cap_goes_on_filling_after_the_clock_was_set_back(back_s: float) -> None:
    cap = RateCap(100.0)
    while cap.take(1e6):
        pass
    now_s = 1e6 - back_s
    cap.take(now_s)
    taken = [cap.take(now_s + 0.02 * k) for k in range(1, 1000)]
    assert all(taken)


def test_a_sender_that_restarts_while_the_clock_is_set_back_is_heard() -> None:
    relay = relay_of()
    packets = tone_packets(600)
    fresh = Packetizer(L16(RATE, 1), ssrc=9, payload_type=96)
    new = [fresh.pack(np.full((BLOCK, 1), 0.25, np.float32)) for _ in packets]
    for k in range(600):
        now_s = k * TICK_S - HOUR_S * (k >= JUMP_AT)
        source = SOURCE if k < JUMP_AT else (SOURCE[0], 4001)
        if k < JUMP_AT or k > JUMP_AT + round(QUIET_S / TICK_S):
            relay.receive((packets if k < JUMP_AT else new)[k], source, now_s)
        while relay.next_s <= now_s:
            relay.play(now_s)
    assert relay.latch.source == (SOURCE[0], 4001)
    assert relay.playout.buffer.ssrc == 9


def test_who_was_displaced_has_its_claim_no_longer_for_a_clock_set_back() -> None:
    relay = relay_of()
    old, new = (Packetizer(L16(RATE, 1), ssrc=ssrc, payload_type=96, sequence=1) for ssrc in (7, 8))
    block = np.full((BLOCK, 1), 0.25, np.float32)
    other = (SOURCE[0], 4001)
    for k in range(100):
        relay.receive(old.pack(block), SOURCE, k * TICK_S)
    for k in range(100, 500):
        relay.receive(new.pack(block), other, k * TICK_S)
    assert relay.latch.source == other
    for k in range(500, 500 + round(1.2 * LAPSE_S / TICK_S)):
        relay.receive(new.pack(block), other, k * TICK_S - HOUR_S)
    relay.receive(old.pack(block), SOURCE, k * TICK_S - HOUR_S)
    assert relay.latch.source == other


@pytest.mark.parametrize("back_s", [0.01, 2.0, HOUR_S])
@pytest.mark.parametrize("device", [True, False])
def test_the_clock_of_an_output_goes_on_when_ours_is_set_back(back_s: float, device: bool) -> None:
    clock = PlayClock()
    seen: list[float] = []
    for k in range(1000):
        ours_s = k * TICK_S - back_s * (k >= JUMP_AT)
        if device:
            clock.update(ours_s, k * TICK_S)
        else:
            clock.run(ours_s)
        seen.append(clock.now_s)
    steps = np.diff(seen)
    assert steps.min() >= 0.0
    after = seen[JUMP_AT + round(AGAIN_WITHIN_S / TICK_S) :]
    assert after[-1] - after[0] == pytest.approx((len(after) - 1) * TICK_S, rel=0.02)


@pytest.mark.parametrize("jump_s", [-1e9, -3600.0, -0.5, 0.5, 3600.0, 1e9])
def test_a_wall_clock_that_is_set_changes_nothing_of_a_live_stream(
    jump_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Datagrams are stamped by that clock, and may wait while it is set, to and fro."""
    backend = FakeBackend(cards=[card(0, "card", 0, 1)])
    port = DevicePort(backend, "card", False, RATE, 1, BLOCK / RATE)
    port.open(0.0)
    config = configs.changed(
        LiveConfig(),
        sample_rate=RATE,
        packet_samples=BLOCK,
        budget_ms=math.inf,
        model="ar",
        delay=DelayConfig(mode=DelayMode.FIXED, delay_ms=60),
    )
    engine = LiveEngine(config, Endpoint("127.0.0.1", 0), port)
    assert isinstance(engine.source, NetworkSource)
    packetizer, real, packets = Packetizer(L16(RATE, 1), ssrc=1), time.time, 200
    address = ("127.0.0.1", engine.source.port.endpoint.port)

    def wall(set_by_s: float) -> float:
        return real() + set_by_s

    engine.step(0.0, lambda: 0.0)
    with closing(engine), socket.socket(type=socket.SOCK_DGRAM) as out:
        for k in range(packets):
            now_s = 0.01 * (k + 1)
            out.sendto(packetizer.pack(np.full((BLOCK, 1), np.float32(0.1))), address)
            set_by_s = jump_s * (k // 20 % 2)
            monkeypatch.setattr(time, "time", partial(wall, set_by_s))
            backend.stream(False).take(BLOCK)
            engine.step(now_s, partial(float, now_s))
    received = engine.playout.received
    assert (received.packets_received, received.late_packets) == (packets, 0)
    assert received.played_samples >= (packets - 8) * BLOCK
    assert (received.skipped_samples, received.source_changes) == (0, 0)
