"""Random input to a playout and to a jitter buffer leaves them sound."""

import pytest

from tests.attack.fuzz.streams import fuzz


@pytest.mark.parametrize(
    ("inputs", "seed"), [(50_000, 1), pytest.param(1_000_000, 0, marks=pytest.mark.deep)]
)
def test_random_events_leave_the_jitter_buffer_sound(inputs: int, seed: int) -> None:
    seen = fuzz("jitter", inputs, seed)
    assert seen["blocks"] > inputs / 10
    assert seen["packets"] > inputs / 10
    assert seen["most_packets_held"] <= 4096
    # Both ends may have slept for 0.5 s, which the base of the delay follows within 4 s.
    assert seen["largest_delay_s"] <= 0.2 + 0.5 + 3 * 0.02


@pytest.mark.parametrize(
    ("inputs", "seed"), [(5000, 3), pytest.param(1_000_000, 0, marks=pytest.mark.deep)]
)
def test_damaged_packets_break_nothing_and_fill_no_memory(inputs: int, seed: int) -> None:
    assert 0 < fuzz("transport", inputs, seed)["most_packets_held"] < 200
