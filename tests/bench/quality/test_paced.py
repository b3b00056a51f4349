"""A stream in its own time: no packet is pushed before its turn."""

import numpy as np
import pytest

from plc import conceal
from plc.errors import ConfigError
from plc_bench.quality.contenders import PacedEngine, check_methods, contender
from tests.signals import tones

RATE, PACKET = 16_000, 160
TRACE = np.zeros(40, np.bool_)
TRACE[[20, 21, 30]] = True
SIGNAL = tones(1, RATE, 40 * PACKET)[:, None]


class _Time:
    """Seconds that pass only while somebody sleeps."""

    def __init__(self) -> None:
        self.now_s = 5.0
        self.slept: list[float] = []

    def clock(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now_s += seconds


@pytest.mark.parametrize("lookahead", [0, 1])
def test_every_packet_waits_for_its_turn(lookahead: int) -> None:
    time = _Time()
    engine = PacedEngine(
        method="burg", lookahead=lookahead, prepare="never", clock=time.clock, sleep=time.sleep
    )
    played = engine.play(SIGNAL, TRACE, PACKET, RATE)
    assert time.now_s == pytest.approx(5.0 + 40 * PACKET / RATE)
    assert len(time.slept) == 40
    expected = conceal(
        SIGNAL,
        TRACE,
        sample_rate=RATE,
        packet_samples=PACKET,
        method="burg",
        lookahead=lookahead,
    )
    np.testing.assert_array_equal(played, expected)


def test_names_say_what_is_paced() -> None:
    assert contender("auto@paced", seed=3) == PacedEngine(method="auto", seed=3)
    assert contender("ar@paced@lookahead1@prepare=never") == PacedEngine(
        method="ar", lookahead=1, prepare="never"
    )
    check_methods(["auto@paced", "auto", "ar"])


@pytest.mark.parametrize("name", ["auto@prepare=never", "auto@paced@prepare=often"])
def test_a_preparation_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="prepare"):
        contender(name)
