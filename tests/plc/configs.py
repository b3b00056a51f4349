"""Settings that stand inside other settings, changed by name."""

import dataclasses
from typing import Any, TypeVar

from plc.engine.stream.config import StreamConfig
from plc.transport.rtp.codecs import Codec
from plc.transport.rtp.config import ReceiverConfig
from plc.transport.rtp.delay import DelayConfig
from plc.transport.rtp.playout import Playout

T = TypeVar("T")


def changed(config: T, **settings: Any) -> T:
    """Return a config with other settings, wherever in it they are declared."""
    given = dict(settings)
    new = _changed(config, given)
    assert not given, f"no such settings: {given}"
    result: T = new
    return result


def _changed(config: Any, given: dict[str, Any]) -> Any:
    fields = dataclasses.fields(config)
    new = {field.name: given.pop(field.name) for field in fields if field.name in given}
    for field in fields:
        value = getattr(config, field.name)
        if field.name not in new and given and dataclasses.is_dataclass(value):
            new[field.name] = _changed(value, given)
    if isinstance(config, StreamConfig) and "packet_ms" not in new:
        new["packet_ms"] = None  # as of the samples
    return dataclasses.replace(config, **new)


def playout_of(
    codec: Codec, block: int, delay: DelayConfig | None = None, **settings: Any
) -> Playout:
    """Return a playout of a codec, of blocks of this many samples."""
    stream = StreamConfig(
        sample_rate=codec.sample_rate, channels=codec.channels, packet_samples=block
    )
    config = ReceiverConfig(stream=stream, delay=delay or DelayConfig())
    return Playout(changed(config, **settings), codec)
