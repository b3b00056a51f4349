"""The compiled step against the same stream in plain Python, sample for sample."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from plc import Concealer
from plc_kernels.stream.layout import COUNTERS
from tests.examples import examples
from tests.plc.engine.reference import Reference
from tests.signals import glide, noise, tones, voice

TIMED = {"deadline_misses", "rung_changes"}
"""Counters of what took too long: there is no time limit here."""
RATES = (8_000, 16_000, 24_000, 44_100, 48_000)


def syllables(seed: int, rate: int, samples: int) -> NDArray[np.float32]:
    """Return voice and hiss in turn, 60 ms each at any level, with pauses: as unsteady as speech."""
    rng = np.random.default_rng(seed)
    n = rate * 60 // 1000
    parts = [
        rng.choice([0.0, 0.3, 1.0]) * (glide(k, rate, n) if k % 2 else noise(k, n))
        for k in range(samples // n + 1)
    ]
    return np.concatenate(parts)[:samples].astype(np.float32)


def swelling(seed: int, rate: int, samples: int) -> NDArray[np.float32]:
    """Return tones that swell by 60 dB in 40 ms and stop, again and again."""
    rise = 10.0 ** (3.0 * ((np.arange(samples) / (0.04 * rate)) % 1.0) - 3.0)
    return (3.0 * rise * tones(seed, rate, samples)).astype(np.float32)


def chirping(seed: int, rate: int, samples: int) -> NDArray[np.float32]:
    """Return a voice whose pitch falls."""
    return voice(rate, samples / rate, 220.0, 0.8, seed)[:samples]


def hiss(seed: int, rate: int, samples: int) -> NDArray[np.float32]:
    return noise(seed, samples)


SIGNALS = {each.__name__: each for each in (syllables, tones, swelling, chirping, hiss, glide)}

milliseconds = st.integers(1, 60)
actions = st.one_of(
    st.tuples(st.just("receive"), st.one_of(milliseconds, st.integers(100, 400))),
    st.tuples(st.just("lose"), st.one_of(milliseconds, st.sampled_from([80, 150, 260]))),
    st.tuples(st.just("cut"), st.integers(1, 6)),
    st.tuples(st.sampled_from(["unsound", "unsound in part", "flush", "reset"]), st.just(1)),
)


@st.composite
def formats(draw: st.DrawFn) -> dict[str, Any]:
    """Return a stream's settings: packets of 32 samples to 20 ms."""
    rate = draw(st.sampled_from(RATES))
    packet = draw(st.one_of(st.integers(32, rate // 50), st.sampled_from([32, rate // 50])))
    return {
        "sample_rate": rate,
        "channels": draw(st.integers(1, 3)),
        "packet_samples": packet,
        "lookahead": draw(st.integers(0, 3)),
        "seed": draw(st.integers(-1, 2**40)),
        "method": draw(st.sampled_from(["ar", "ar", "burg:5/30", "burg:2/8"])),
    }


def pushes(
    script: list[tuple[str, int]], packet: int, rate: int, rng: np.random.Generator
) -> Iterator[tuple[str, list[tuple[int, int]]]]:
    """Yield what becomes of each packet, and which parts of it are missing."""
    for action, amount in script:
        if action == "cut":
            for _ in range(amount):
                yield "receive", cuts(packet, rng)
        elif action == "unsound in part":
            yield "unsound", cuts(packet, rng)
        elif action in ("receive", "lose"):
            for _ in range(math.ceil(amount * rate / 1000 / packet)):
                yield action, []
        else:
            yield action, []


def cuts(packet: int, rng: np.random.Generator) -> list[tuple[int, int]]:
    """Return one to three missing parts of a packet; at times all of it."""
    if rng.random() < 0.1:
        return [(0, packet)]
    edges = np.sort(rng.choice(packet + 1, 2 * int(rng.integers(1, 4)), replace=False)).tolist()
    return list(zip(edges[::2], edges[1::2], strict=True))


def counters(concealer: Concealer) -> dict[str, int]:
    return {name: getattr(concealer.stats, name) for name in COUNTERS if name not in TIMED}


def run_beside(
    settings: dict[str, Any], signal: str, integer: bool, script: list[tuple[str, int]], seed: int
) -> set[str]:
    """Play the same packets to the step and to the reference; return what was reached."""
    concealer, reference = Concealer(budget_ms=math.inf, **settings), Reference(**settings)
    rng = np.random.default_rng(seed)
    rate, n, channels = (
        settings[name] for name in ("sample_rate", "packet_samples", "channels")
    )
    plan = list(pushes([("receive", 300), *script, ("receive", 5)], n, rate, rng))
    make = SIGNALS[signal]
    samples: NDArray[Any] = np.stack([make(seed + c, rate, len(plan) * n) for c in range(channels)])
    samples = samples.T.reshape(len(plan), n, channels)
    if integer:
        samples = np.clip(32767 * samples, -32768, 32767).astype(np.int16)
    for k, (action, missing) in enumerate(plan):
        packet = samples[k].copy()
        if action == "reset":
            assert counters(concealer) == {name: reference.counts[name] for name in COUNTERS if name not in TIMED}
            concealer.reset()
            reference.reset()
            continue
        if action == "flush":
            same(concealer.flush(), reference.flush())
            continue
        if action == "unsound" and not integer:
            packet[rng.integers(n), 0] = rng.choice([np.nan, np.inf, -2e6])
        lost = action == "lose"
        played = concealer.push(None if lost else packet, missing=missing)
        same(played, reference.push(None if lost else packet, missing))
    same(concealer.flush(), reference.flush())
    assert counters(concealer) == {name: reference.counts[name] for name in COUNTERS if name not in TIMED}
    assert {k: v for k, v in concealer.stats.rung_samples.items() if v} == +reference.rungs
    return reference.reached


WORST = [0.0]
def same(played: NDArray[Any], expected: NDArray[Any]) -> None:
    assert played.dtype == expected.dtype
    if played.size:
        WORST[0] = max(WORST[0], np.abs(played.astype(float)-expected).max())
    np.testing.assert_array_equal(played, expected)


def test_the_step_plays_what_the_reference_plays() -> None:
    reached: set[str] = set()

    @examples(200)
    @given(
        settings=formats(),
        signal=st.sampled_from(sorted(SIGNALS)),
        integer=st.booleans(),
        script=st.lists(actions, min_size=4, max_size=12),
        seed=st.integers(0, 2**16),
    )
    def play(**drawn: Any) -> None:
        reached.update(run_beside(**drawn))

    play()
    print(reached)
    assert reached >= {
        "EXTEND",
        "BRIDGE",
        "NOISE",
        "fade",
        "landed",
        "not landed",
        "a loss while recovering",
        "recovery",
        "quick recovery",
        "limited",
        "steady",
        "unsteady",
    }
