"""Scaling the input scales the output: nothing that is played depends on the level in numbers.

Nothing here is near full scale, where samples count as clipped.
"""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from plc import ConcealerPool, conceal
from plc.engine.loss import GilbertElliott
from tests.signals import content, nmse_db

# What no listener hears of a fill at these levels.
MOST_DB = -40.0
GAINS_DB = (-20.0, -10.0, -3.0, 6.0)
# Sample rate and packet of what plays.
FORMATS = {"speech": (16_000, 20), "music": (48_000, 10)}
PLAYERS: dict[str, dict[str, Any]] = {
    "auto": {},
    "auto, lookahead": {"lookahead": 1},
    "ar": {"model": "ar"},
    "ar, lookahead": {"model": "ar", "lookahead": 1},
    "pool": {},
}
each_player = pytest.mark.parametrize("player", PLAYERS)
each_content = pytest.mark.parametrize("kind", FORMATS)

Signal = NDArray[np.float32]


def fills(player: str, kind: str, gains: tuple[float, ...]) -> Signal:
    """Return what a player makes of the lost samples: a channel for each gain of the sound."""
    rate, packet_ms = FORMATS[kind]
    samples = rate * packet_ms // 1000
    trace = GilbertElliott(loss=0.2).trace(2000 // packet_ms, seed=7)
    trace[: 400 // packet_ms] = False
    trace[1000 // packet_ms : 1400 // packet_ms] = True  # until only the background is left
    sound = 0.5 * content(kind, rate, trace.size * samples)
    signal = (sound * np.array(gains)).astype(np.float32)
    if player == "pool":
        with ConcealerPool() as pool:
            ids = pool.open(1, sample_rate=rate, channels=len(gains), packet_samples=samples)
            packets = signal.reshape(trace.size, 1, samples, len(gains))
            played = [
                pool.push(ids, packet, ~lost[None])
                for packet, lost in zip(packets, trace, strict=True)
            ]
        made = np.concatenate([packet[0] for packet in played])
    else:
        made = conceal(signal, trace, sample_rate=rate, packet_ms=packet_ms, **PLAYERS[player])
    return made[np.repeat(trace, samples)]


@each_content
@each_player
def test_a_louder_or_quieter_sound_gets_the_same_fills(player: str, kind: str) -> None:
    whole = fills(player, kind, (1.0,))
    gains = {each: 10.0 ** (each / 20.0) for each in GAINS_DB}
    errors = {
        each: nmse_db(fills(player, kind, (gain,)) / gain, whole) for each, gain in gains.items()
    }
    assert max(errors.values()) < MOST_DB, {key: round(value, 1) for key, value in errors.items()}


@each_content
@each_player
def test_a_channel_that_is_anothers_copy_gets_a_copy_of_its_fills(player: str, kind: str) -> None:
    gains = (1.0, 0.7, -1.0)
    made = fills(player, kind, gains)
    with np.errstate(divide="ignore"):  # some are equal
        errors = {gain: nmse_db(made[:, c] / gain, made[:, 0]) for c, gain in enumerate(gains) if c}
    assert max(errors.values()) < MOST_DB, {key: round(value, 1) for key, value in errors.items()}
