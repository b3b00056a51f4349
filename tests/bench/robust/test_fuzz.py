import json

import pytest
from typer.testing import CliRunner

from plc.transport.rtp.jitter import JitterBuffer
from plc_bench.cli import app
from plc_bench.robust import fuzz as bench
from plc_bench.robust.fuzz import SURFACES, fuzz


def test_fifty_thousand_random_events_leave_the_jitter_buffer_sound() -> None:
    seen = fuzz("jitter", 50_000, seed=1).seen
    assert seen["blocks"] > 5_000
    assert seen["packets"] > 5_000
    assert seen["most_packets_held"] <= 4096
    # Both ends may have slept for 0.5 s, which the base of the delay follows within 4 s.
    assert seen["largest_delay_s"] <= 0.2 + 0.5 + 3 * 0.02


def test_damaged_packets_break_nothing_and_fill_no_memory() -> None:
    assert 0 < fuzz("transport", 5000, seed=3).seen["most_packets_held"] < 200


@pytest.mark.parametrize("surface", SURFACES)
def test_the_same_seed_gives_the_same_input(surface: str) -> None:
    first, second = fuzz(surface, 500, seed=4), fuzz(surface, 500, seed=4)
    assert (first.inputs, first.seen) == (second.inputs, second.seen)


def test_what_breaks_a_surface_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(JitterBuffer, "pull", fail)
    with pytest.raises(ZeroDivisionError):
        fuzz("jitter", 100)


def test_the_command_shows_what_was_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "INPUTS", 100)
    result = CliRunner().invoke(app, ["robust", "fuzz", "transport", "--json"])
    assert result.exit_code == 0
    found = json.loads(result.stdout)
    assert found["surface"] == "transport"
    assert found["inputs"] == 100
