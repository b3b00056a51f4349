import math
from dataclasses import FrozenInstanceError, asdict, fields
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from plc.engine.stream.concealer import Concealer
from plc.engine.stream.config import (
    DEFAULT_BUDGET_SHARE,
    MAX_CHANNELS,
    MAX_LOOKAHEAD_MS,
    MAX_PACKET_MS,
    MIN_PACKET_MS,
    StreamConfig,
    StreamSettings,
    samples_of_packet,
)
from plc.errors import ConfigError, PlcError
from plc_kernels.stream.layout import MAX_SAMPLE_RATE, MIN_SAMPLE_RATE

rates = st.integers(MIN_SAMPLE_RATE, MAX_SAMPLE_RATE)


@given(
    sample_rate=rates,
    channels=st.integers(1, MAX_CHANNELS),
    packet_ms=st.floats(MIN_PACKET_MS, MAX_PACKET_MS),
    seed=st.integers(),
)
def test_every_stream_within_the_ranges_is_taken(
    sample_rate: int, channels: int, packet_ms: float, seed: int
) -> None:
    samples = round(packet_ms * sample_rate / 1000)
    config = StreamConfig(
        sample_rate=sample_rate, channels=channels, packet_samples=samples, seed=seed
    )
    assert math.isclose(config.packet_ms, 1000 * samples / sample_rate)
    assert math.isclose(config.time_limit_ms, DEFAULT_BUDGET_SHARE * config.packet_ms)


@given(sample_rate=rates, packet_samples=st.integers(32, 960))
def test_the_deepest_lookahead_is_two_seconds(sample_rate: int, packet_samples: int) -> None:
    packet_ms = 1000 * packet_samples / sample_rate
    deepest = int(MAX_LOOKAHEAD_MS / packet_ms)
    settings: dict[str, Any] = {"sample_rate": sample_rate, "packet_samples": packet_samples}
    assert StreamConfig(**settings, lookahead=deepest).lookahead == deepest
    with pytest.raises(ConfigError, match="lookahead"):
        StreamConfig(**settings, lookahead=deepest + 1)


@pytest.mark.parametrize("budget_ms", [0.001, 2.0, 7, math.inf])
def test_a_budget_is_the_time_limit(budget_ms: float) -> None:
    assert StreamConfig(budget_ms=budget_ms).time_limit_ms == budget_ms


def test_packets_of_32_samples_are_taken_at_any_rate() -> None:
    for sample_rate in (44_100, 48_000, 96_000, MAX_SAMPLE_RATE):
        StreamConfig(sample_rate=sample_rate, packet_samples=32)
        with pytest.raises(ConfigError, match="packet_samples is 31; supported: 32 to"):
            StreamConfig(sample_rate=sample_rate, packet_samples=31)


def test_integers_of_numpy_are_integers() -> None:
    config = StreamConfig(sample_rate=np.int64(16_000), packet_samples=np.int32(320))  # type: ignore[arg-type]  # numpy's are no int to mypy
    assert config.packet_ms == 20.0


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"sample_rate": 7_999}, "sample_rate is 7999; supported: 8000 to 192000 Hz"),
        ({"sample_rate": 192_001}, "sample_rate is 192001; supported: 8000 to 192000 Hz"),
        ({"sample_rate": 48_000.0}, r"sample_rate is 48000\.0; give an integer, 8000 to"),
        ({"sample_rate": "48000"}, "sample_rate is '48000'; give an integer"),
        ({"sample_rate": None}, "sample_rate is None; give an integer"),
        ({"channels": 0}, "channels is 0; supported: 1 to 8 channels"),
        ({"channels": 9}, "channels is 9; supported: 1 to 8 channels"),
        ({"channels": True}, "channels is True; give an integer"),
        ({"channels": 2.5}, r"channels is 2\.5; give an integer"),
        ({"packet_samples": 31}, "packet_samples is 31; supported: 32 to 5760 samples at 48000 Hz"),
        ({"packet_samples": 5_761}, "packet_samples is 5761; supported: 32 to 5760"),
        (
            {"packet_samples": 7, "sample_rate": 8_000},
            "packet_samples is 7; supported: 8 to 960 samples at 8000 Hz",
        ),
        ({"packet_samples": -480}, "packet_samples is -480"),
        ({"packet_samples": 480.0}, r"packet_samples is 480\.0; give an integer"),
        ({"lookahead": -1}, "lookahead is -1; supported: 0 to 200 packets of 10 ms"),
        ({"lookahead": 201}, "lookahead is 201; supported: 0 to 200 packets of 10 ms"),
        ({"lookahead": 1.0}, r"lookahead is 1\.0; give an integer"),
        ({"budget_ms": 0}, "budget_ms is 0; give a time above 0 ms"),
        ({"budget_ms": -2.5}, r"budget_ms is -2\.5; give a time above 0 ms"),
        ({"budget_ms": math.nan}, "budget_ms is nan; give a time above 0 ms"),
        ({"seed": 0.5}, r"seed is 0\.5; give an integer"),
        ({"seed": None}, "seed is None; give an integer"),
        ({"method": None}, "method is None; give a name, such as 'auto'"),
        ({"model": 3}, "model is 3; give a name"),
        ({"provider": ("cuda",)}, "provider is .'cuda',.; give a name"),
        ({"detect_dropouts": 1}, "detect_dropouts is 1; give True or False"),
    ],
)
def test_a_wrong_setting_names_what_would_do(setting: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        StreamConfig(**setting)
    assert isinstance(caught.value, PlcError)
    assert isinstance(caught.value, ValueError)


def test_the_keywords_of_streams_are_those_of_the_config() -> None:
    """But for the format and the lookahead, which stand in the signatures.

    A method may be one with numbers, such as ``burg:5/30``, which no literal names.
    """
    format = {"sample_rate", "channels", "packet_samples", "packet_ms", "lookahead"}
    declared = StreamSettings.__annotations__
    assert format | set(declared) == {field.name for field in fields(StreamConfig)}
    types = {name: StreamConfig.__annotations__[name] for name in declared}
    assert dict(declared) | {"method": str} == types


@pytest.mark.parametrize("rate", [8_000, 11_025, 44_100, 48_000, 192_000])
def test_a_packet_lasts_10_ms_at_every_rate_unless_said_otherwise(rate: int) -> None:
    assert StreamConfig(sample_rate=rate).packet_samples == round(rate / 100)
    config = StreamConfig(sample_rate=rate, packet_ms=20)
    assert config.packet_samples == round(rate / 50)
    assert config.packet_ms == 1000 * config.packet_samples / rate
    assert StreamConfig(**asdict(config)) == config


def test_every_length_of_packets_comes_back_from_its_fields() -> None:
    longest = StreamConfig(sample_rate=11_025, packet_samples=1323)
    for config in (longest, StreamConfig(sample_rate=192_000, packet_samples=32)):
        assert StreamConfig(**asdict(config)) == config


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"packet_ms": 20, "packet_samples": 480}, "packet_ms is 20; give one of them"),
        ({"packet_ms": 0.0}, "packet_ms is 0.0; give 0.1 to 120 ms"),
        ({"packet_ms": math.nan}, "packet_ms is nan"),
        ({"packet_ms": "ten"}, "packet_ms is 'ten'"),
        ({"packet_ms": "ten", "packet_samples": 480}, "packet_ms is 'ten'"),
        ({"packet_ms": True}, "packet_ms is True"),
    ],
)
def test_a_packet_of_two_lengths_or_of_none_is_refused(
    settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        StreamConfig(**settings)


def test_a_packet_is_whole_samples() -> None:
    assert samples_of_packet(10.0, 44_100) == 441
    assert samples_of_packet(0.1, 8000) == 1
    assert samples_of_packet("352smp", 44_100) == 352
    for packet_ms in (0.0, -10.0, 0.09, 121.0, math.nan, math.inf, "0smp", "9999smp", "12", "smp"):
        with pytest.raises(ConfigError, match="packet_ms is"):
            samples_of_packet(packet_ms, 48_000)


@pytest.mark.parametrize("field", [field.name for field in fields(StreamConfig)])
def test_help_of_a_concealer_tells_of_every_setting(field: str) -> None:
    assert f"    {field} : " in (Concealer.__doc__ or "")


def test_a_stream_is_opened_as_its_config_says() -> None:
    settings: StreamSettings = {"method": "burg", "model": "ar", "seed": 7, "budget_ms": 3.0}
    concealer = Concealer(16_000, 2, 160, 1, **settings)
    assert concealer.config == StreamConfig(
        sample_rate=16_000, channels=2, packet_samples=160, lookahead=1, **settings
    )
    assert concealer.describe()["method"] == concealer.config.method
    assert Concealer(method="server").describe()["method"] == "server"


def test_a_config_cannot_be_changed() -> None:
    config = StreamConfig()
    with pytest.raises(FrozenInstanceError):
        config.sample_rate = 8_000  # type: ignore[misc]  # on purpose
