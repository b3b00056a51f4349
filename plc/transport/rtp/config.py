"""The settings of a received RTP stream, checked once."""

from dataclasses import dataclass, field
from numbers import Real

from plc.engine.stream.config import StreamConfig
from plc.errors import ConfigError
from plc.transport.rtp.codecs import CODECS, Codec, open_codec
from plc.transport.rtp.delay import DelayConfig
from plc.transport.rtp.srtp import SrtpKey
from plc.transport.rtp.udp import Network


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiverConfig:
    """Settings of a received RTP stream.

    Parameters
    ----------
    stream : StreamConfig
        Format and concealment. Its packets are the blocks played; received packets may have any
        length.
    codec : str, codec of the payloads, in any case: one of :data:`~plc.transport.rtp.codecs.CODECS`
    delay : DelayConfig, how long packets wait
    payload_type : int or None, payload type of the audio; None: the codec's usual one
    red_payload_type : int or None, payload type of redundant audio (RFC 2198)
    more_payload_types : tuple of (int, str)
        Payload types and codecs of the same rate and channels that may come as well; the static
        ones of RFC 3551 may in any case.
    allow : tuple of Network, permitted senders; empty: everybody
    packets_per_s : float
        Packets taken from the sender per second; a second's worth may come at once.
    key : SrtpKey or None
        What the stream is sealed with (SRTP): what comes in, and what is sent. None: plain RTP.

    Raises
    ------
    ConfigError
        If a setting is out of its range.
    """

    stream: StreamConfig = field(default_factory=StreamConfig)
    codec: str = "l16"
    delay: DelayConfig = field(default_factory=DelayConfig)
    payload_type: int | None = None
    red_payload_type: int | None = None
    more_payload_types: tuple[tuple[int, str], ...] = ()
    allow: tuple[Network, ...] = ()
    packets_per_s: float = 2000.0
    key: SrtpKey | None = None

    def __post_init__(self) -> None:
        """Check the ranges that the parts do not check."""
        codec = self.codec.lower() if isinstance(self.codec, str) else self.codec
        if codec not in CODECS:
            raise ConfigError(f"codec is {self.codec!r}; supported: {', '.join(CODECS)}")
        object.__setattr__(self, "codec", codec)
        if not isinstance(self.packets_per_s, Real) or not self.packets_per_s >= 1.0:
            raise ConfigError(f"packets_per_s is {self.packets_per_s!r}; give a number from 1 on")
        for number in (self.payload_type, self.red_payload_type):
            if number is not None and not (isinstance(number, int) and 0 <= number <= 127):
                raise ConfigError(f"payload type is {number!r}; supported: 0 to 127")

    def open_codec(self) -> Codec:
        """Return a new codec, with state of its own."""
        return open_codec(self.codec, self.stream.sample_rate, self.stream.channels)
