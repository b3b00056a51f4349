"""Settings of a received stream that cannot be are refused when they are made."""

from typing import Any

import pytest

from plc.engine.stream.config import StreamConfig
from plc.errors import ConfigError
from plc.transport.rtp.codecs import L16
from plc.transport.rtp.config import ReceiverConfig
from plc.transport.rtp.playout import Playout


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("codec", "nope"),
        ("codec", 3),
        ("payload_type", "x"),
        ("payload_type", 128),
        ("red_payload_type", -1),
        ("packets_per_s", None),
        ("packets_per_s", 0.5),
        ("packets_per_s", float("nan")),
    ],
)
def test_a_setting_out_of_its_range_or_type_is_refused(setting: str, value: Any) -> None:
    name = setting.removeprefix("red_").replace("_type", ".type")
    with pytest.raises(ConfigError, match=name):
        ReceiverConfig(**{setting: value})


def test_a_codec_is_known_in_any_case() -> None:
    assert ReceiverConfig(codec="PCMU").codec == "pcmu"


@pytest.mark.parametrize(("rate", "channels"), [(44_100, 1), (48_000, 2)])
def test_a_codec_of_another_format_than_the_stream_is_refused(rate: int, channels: int) -> None:
    config = ReceiverConfig(stream=StreamConfig(sample_rate=48_000, channels=1))
    with pytest.raises(ConfigError, match="give both the same"):
        Playout(config, L16(rate, channels))
