"""The compiled step against the same stream in plain Python, bit for bit."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st
from numpy.typing import NDArray

from plc import Concealer
from plc_kernels.stream.background import is_speech, is_unsteady
from plc_kernels.stream.layout import COUNTERS, FLUX_DB, RECEIVED_SHARE
from tests.examples import examples
from tests.installed import needs_numba
from tests.plc.engine.stream.reference import Behind, Missing, Reference
from tests.signals import glide, noise, tones, voice

pytestmark = needs_numba

COMPARED = sorted(set(COUNTERS) - {"deadline_misses", "rung_changes"})
"""Without a time limit nothing is late."""
ALL_THERE_IS = {
    "extend",
    "bridge",
    "noise",
    "fade",
    "a bridge",
    "a bridge that a late packet cuts short",
    "a loss while recovering",
    "recovery",
    "quick recovery",
    "limit",
    "limit by age",
    "noise filling",
    "mended",
    "quieter background",
    "steady ladder",
    "unsteady ladder",
    "unsound",
}


def syllables(seed: int, rate: int, samples: int) -> NDArray[np.float32]:
    """Return voice, hiss and silence, 60 ms each: as unsteady as speech."""
    rng = np.random.default_rng(seed)
    n = rate * 60 // 1000
    out: NDArray[np.float32] = np.zeros(samples, np.float32)
    for k, begin in enumerate(range(0, samples, n)):
        part = glide(k, rate, n) if k % 2 else noise(k, n)
        out[begin : begin + n] = (rng.choice([0.0, 0.3, 1.0]) * part)[: samples - begin]
    return out


def beats(seed: int, rate: int, samples: int) -> NDArray[np.float32]:
    """Return two tones that beat and grow, whose continuation is louder than what came before."""
    t = np.arange(samples) / rate
    f_hz = np.random.default_rng(seed).uniform(200.0, 1500.0)
    level = 0.4 * np.power(10.0, t / 0.3 % 5.0 - 5.0)
    both = np.sin(2 * np.pi * f_hz * t) + np.sin(2 * np.pi * (f_hz + 6.0) * t)
    return np.asarray(level * both + noise(seed, samples, 1e-6), np.float32)


def falling(seed: int, rate: int, samples: int) -> NDArray[np.float32]:
    """Return a voice whose pitch falls."""
    return voice(rate, (samples + 1) / rate, 220.0, 0.8, seed)[:samples]


def gated(seed: int, rate: int, samples: int) -> NDArray[np.float32]:
    """Return hiss, 10 ms of each 20: its background is louder than its quietest moments."""
    open_ = np.arange(samples) * 100 // rate % 2 == 0
    return np.where(open_, np.float32(1.0), np.float32(1e-3)) * noise(seed, samples)


def hiss(seed: int, rate: int, samples: int) -> NDArray[np.float32]:
    return noise(seed, samples)


def muted(seed: int, rate: int, samples: int) -> NDArray[np.float32]:
    """Return a voice of which samples are missing here and there, also before losses."""
    gone = np.random.default_rng(seed).random(samples) < 0.05
    return np.where(gone, np.float32(0.0), falling(seed, rate, samples))


SIGNALS = {
    each.__name__: each for each in (syllables, beats, falling, gated, hiss, glide, tones, muted)
}

actions = st.one_of(
    st.tuples(st.just("receive"), st.one_of(st.integers(1, 60), st.integers(100, 400))),
    st.tuples(st.just("lose"), st.one_of(st.integers(1, 60), st.sampled_from([80, 150, 260]))),
    st.tuples(st.just("mostly lose"), st.sampled_from([300, 700])),
    st.tuples(st.just("cut"), st.integers(1, 6)),
    st.tuples(st.sampled_from(["unsound", "unsound in part", "flush", "reset"]), st.just(1)),
)


@st.composite
def formats(draw: st.DrawFn) -> dict[str, Any]:
    """Return a stream's settings: packets of 32 samples to 20 ms."""
    rate = draw(st.sampled_from([8_000, 16_000, 24_000, 44_100, 48_000]))
    longest = rate // 50
    return {
        "sample_rate": rate,
        "channels": draw(st.integers(1, 3)),
        "packet_samples": draw(st.one_of(st.integers(32, longest), st.sampled_from([32, longest]))),
        "lookahead": draw(st.integers(0, 3)),
        "seed": draw(st.integers(-1, 2**40)),
        "method": draw(st.sampled_from(["ar", "ar", "burg:5/30", "burg:2/8"])),
    }


def cuts(packet: int, rng: np.random.Generator) -> list[tuple[int, int]]:
    """Return one to three missing parts of a packet; at times all of it."""
    if rng.random() < 0.1:
        return [(0, packet)]
    edges = np.sort(rng.choice(packet + 1, 2 * int(rng.integers(1, 4)), replace=False)).tolist()
    return list(zip(edges[::2], edges[1::2], strict=True))


def pushes(
    script: list[tuple[str, int]], packet_ms: float, packet: int, rng: np.random.Generator
) -> Iterator[tuple[str, Missing]]:
    """Yield what becomes of each packet, and which parts of it are missing."""
    for action, amount in script:
        if action in ("receive", "lose"):
            for _ in range(math.ceil(amount / packet_ms)):
                yield action, ()
        elif action == "mostly lose":
            for _ in range(amount // 30):
                fate = "lose" if rng.random() < 0.7 else "receive"
                yield from pushes([(fate, 30)], packet_ms, packet, rng)
        elif action == "cut":
            for _ in range(amount):
                yield "receive", cuts(packet, rng)
        elif action == "unsound in part":
            yield "unsound", cuts(packet, rng)
        else:
            yield action, ()


class Pair:
    """A Concealer and the reference: whatever is done to one is done to the other.

    Parameters
    ----------
    settings
        Of both.
    """

    def __init__(self, **settings: Any) -> None:
        self.concealer = Concealer(budget_ms=math.inf, **settings)
        self.reference = Reference(**settings)

    def push(self, packet: NDArray[Any] | None, missing: Missing, behind: Behind = ()) -> None:
        played = self.concealer.push(packet, missing=missing, behind=behind)
        same(played, self.reference.push(packet, missing, behind))

    def flush(self) -> None:
        """Compare what is known of the signal, then end the stream."""
        memory = self.concealer._memory
        known = self.reference.background
        assert math.isclose(memory.numbers[FLUX_DB], known.flux_db)
        assert math.isclose(memory.numbers[RECEIVED_SHARE], self.reference.limit.received_share)
        assert is_unsteady(memory.block) == known.unsteady
        assert is_speech(memory.block) == known.speech
        same(self.concealer.flush(), self.reference.flush())

    def compare_counters(self) -> None:
        stats, reference = self.concealer.stats, self.reference
        counted = {name: getattr(stats, name) for name in COMPARED}
        assert counted == {name: reference.counts[name] for name in COMPARED}
        assert {rung: n for rung, n in stats.rung_samples.items() if n} == +reference.rungs

    def reset(self) -> None:
        self.compare_counters()
        self.concealer.reset()
        self.reference.reset()


def same(played: NDArray[Any], expected: NDArray[Any]) -> None:
    assert played.dtype == expected.dtype
    np.testing.assert_array_equal(played, expected)


def signal_of(
    name: str, seed: int, rate: int, shape: tuple[int, int, int], integer: bool
) -> NDArray[Any]:
    """Return packets, shape (packets, packet_samples, channels), of another sound a channel."""
    packets, n, channels = shape
    rows = [SIGNALS[name](seed + c, rate, packets * n) for c in range(channels)]
    signal: NDArray[Any] = np.stack(rows, axis=1).reshape(shape)
    return np.clip(32767 * signal, -32768, 32767).astype(np.int16) if integer else signal


def play_beside(
    settings: dict[str, Any],
    signal: str,
    integer: bool,
    script: list[tuple[str, int]],
    seed: int,
    ahead: int = 0,
) -> set[str]:
    """Play the same packets to the step and to the reference; return what was reached.

    At each loss ``ahead`` packets behind it are handed over, as far as they come whole.
    """
    pair = Pair(**settings)
    rng = np.random.default_rng(seed)
    rate, n = settings["sample_rate"], settings["packet_samples"]
    plan = list(pushes(script, 1000.0 * n / rate, n, rng))
    shape = (len(plan), n, settings["channels"])
    packets = signal_of(signal, seed, rate, shape, integer)
    for k, (packet, (action, missing)) in enumerate(zip(packets, plan, strict=True)):
        if action == "reset":
            pair.reset()
        elif action == "flush":
            pair.flush()
        elif action == "lose":
            known = range(k + 1, min(k + 1 + ahead, len(plan)))
            whole = [j for j in known if plan[j] == ("receive", ())]
            pair.push(None, (), [((j - k - 1) * n, packets[j]) for j in whole])
        else:
            if not integer:
                for begin, stop in missing:
                    packet[begin:stop] = np.nan  # is not looked at
                if action == "unsound":
                    packet[rng.integers(n), 0] = rng.choice([np.nan, np.inf, -2e6])
            pair.push(packet, missing)
    pair.flush()
    pair.compare_counters()
    return pair.reference.reached


def test_the_step_plays_what_the_reference_plays() -> None:
    reached: set[str] = set()

    @examples(400, few=40)
    @given(
        settings=formats(),
        signal=st.sampled_from(sorted(SIGNALS)),
        integer=st.booleans(),
        heard_ms=st.sampled_from([0, 30, 300, 900]),
        script=st.lists(actions, min_size=4, max_size=16),
        seed=st.integers(0, 2**16),
        ahead=st.integers(0, 4),
    )
    # What hypothesis draws depends on the modules that are loaded: these alone reach all.
    @example(
        settings={
            "sample_rate": 8_000,
            "channels": 1,
            "packet_samples": 160,
            "lookahead": 3,
            "method": "ar",
        },
        signal="gated",
        integer=False,
        heard_ms=300,
        script=[("unsound", 1), ("lose", 260), ("unsound in part", 1), ("mostly lose", 700)],
        seed=22,
        ahead=0,
    )
    @example(
        settings={
            "sample_rate": 16_000,
            "channels": 1,
            "packet_samples": 320,
            "method": "burg:5/30",
        },
        signal="beats",
        integer=False,
        heard_ms=300,
        script=[("mostly lose", 300), ("mostly lose", 700)],
        seed=26,
        ahead=2,
    )
    @example(
        settings={"sample_rate": 16_000, "channels": 1, "packet_samples": 160, "method": "ar"},
        signal="muted",
        integer=True,
        heard_ms=300,
        script=[("cut", 6), ("lose", 30), ("receive", 60), ("lose", 30)],
        seed=0,
        ahead=0,
    )
    @example(
        settings={"sample_rate": 8_000, "channels": 1, "packet_samples": 32, "method": "ar"},
        signal="beats",
        integer=True,
        heard_ms=30,
        script=[("lose", 1), ("cut", 1), ("mostly lose", 300), ("mostly lose", 300)],
        seed=0,
        ahead=4,
    )
    def play(heard_ms: int, script: list[tuple[str, int]], **drawn: Any) -> None:
        whole = [("receive", heard_ms), *script, ("receive", 10)]
        reached.update(play_beside(script=whole, **drawn))

    play()
    assert reached == ALL_THERE_IS


def test_music_that_changes_fast_is_taken_for_steady_by_both() -> None:
    script = [("receive", 600), ("lose", 60), ("receive", 300), ("lose", 60), ("receive", 10)]
    settings = {"sample_rate": 44_100, "channels": 1, "packet_samples": 831, "method": "ar"}
    assert "steady ladder" in play_beside(settings, "beats", True, script, 0)


def test_an_outage_of_seconds_falls_as_quiet() -> None:
    script = [("receive", 1000), ("lose", 9000), ("receive", 50), ("lose", 300), ("receive", 10)]
    settings = {
        "sample_rate": 8000,
        "channels": 1,
        "packet_samples": 97,
        "lookahead": 1,
        "model": "ar",
    }
    play_beside(settings, "hiss", False, script, 1)
