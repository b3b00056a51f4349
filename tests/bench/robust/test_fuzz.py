import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from plc.embed import wire
from plc.embed.served_stream import EmbeddedConfig
from plc.embed.wire import HEADER, pack_hello, parse_hello
from plc.errors import ConfigError
from plc.transport.rtp.jitter import JitterBuffer
from plc_bench.cli import app
from plc_bench.robust.fuzz import SURFACES, fuzz, parse_anything
from tests.examples import examples


def test_fifty_thousand_random_events_leave_the_jitter_buffer_sound() -> None:
    seen = fuzz("jitter", 50_000, seed=1).seen
    assert seen["blocks"] > 5_000
    assert seen["packets"] > 5_000
    assert seen["most_packets_held"] <= 4096
    assert seen["largest_delay_s"] <= 0.2 + 3 * 0.02


def test_damaged_packets_break_nothing_and_fill_no_memory() -> None:
    assert 0 < fuzz("transport", 5000, seed=3).seen["most_packets_held"] < 200


def test_damaged_conversations_are_answered_or_refused() -> None:
    found = fuzz("embedding", 3000, seed=2)
    assert found.inputs >= 3000
    assert found.seen["conversations"] > 10
    assert 0 < found.seen["refused"] < found.seen["answers"]


@examples(200)
@given(st.binary(min_size=1, max_size=300))
def test_bytes_raise_no_error_but_the_protocols(data: bytes) -> None:
    parse_anything(data)


def test_a_hello_for_a_stream_that_there_is_not_is_refused() -> None:
    payload = bytearray(pack_hello(EmbeddedConfig())[HEADER.size :])
    payload[4:8] = b"\1\0\0\0"  # a sample rate of 1 Hz
    with pytest.raises(ConfigError, match="sample_rate is 1"):
        parse_hello(bytes(payload))
    parse_anything(bytes(payload[4:]))


@pytest.mark.parametrize("surface", SURFACES)
def test_the_same_seed_gives_the_same_input(surface: str) -> None:
    first, second = fuzz(surface, 500, seed=4), fuzz(surface, 500, seed=4)
    assert (first.inputs, first.seen) == (second.inputs, second.seen)


def test_what_breaks_a_surface_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(wire, "parse_hello", fail)
    with pytest.raises(ZeroDivisionError):
        parse_anything(b"\x01")
    monkeypatch.setattr(JitterBuffer, "pull", fail)
    with pytest.raises(ZeroDivisionError):
        fuzz("jitter", 100)


def test_the_command_shows_what_was_given() -> None:
    result = CliRunner().invoke(
        app, ["robust", "fuzz", "transport", "--set", "inputs=100", "--json"]
    )
    assert result.exit_code == 0
    found = json.loads(result.stdout)
    assert found["surface"] == "transport"
    assert found["inputs"] == 100
    refused = CliRunner().invoke(app, ["robust", "fuzz", "jitter", "--set", "atheris=yes"])
    assert isinstance(refused.exception, ConfigError)
