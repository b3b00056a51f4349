"""JackTrip's datagrams on a UDP port, to the rest of the program RTP: ``--peer jacktrip://HOST``.

Each holds packets of one length, the newest first where the sender repeats earlier ones (``-r``): a
header of 16 bytes, little-endian, and then samples, channel by channel [1]_::

    0    8 bytes   sender's clock in microseconds
    8    2         number of the packet
    10   2         samples of a channel
    12   1         sample rate, by its place in a list
    13   1         bits of a sample, here 16
    14   1         channels that the sender plays
    15   1         channels that it sends; 0: as many

63 bytes of 255 say goodbye.

References
----------
.. [1] JackTrip 1.7 (https://jacktrip.github.io/jacktrip/), PacketHeader.h, DefaultHeaderStruct.
"""

import random
import struct
import time
from collections.abc import Iterator

import numpy as np

from plc import notice
from plc.engine.stream.config import StreamConfig
from plc.errors import ConfigError
from plc.transport.rtp.packets import RtpPacket, Unwrapper, build_rtp, parse_rtp
from plc.transport.rtp.udp import Address, Endpoint, UdpPort

SCHEME, PORT = "jacktrip://", 4464
RATES = (22_050, 32_000, 44_100, 48_000, 88_200, 96_000, 192_000)
FAREWELL = b"\xff" * 63
_HEADER = struct.Struct("<QHHBBBB")
_BITS = 16
_L16 = 96
_RTCP_BYE = 203


class JackTripPort(UdpPort):
    """A UDP port whose peer speaks JackTrip: packets sent and read here are RTP with L16.

    Parameters
    ----------
    endpoint : Endpoint, where to listen
    stream : StreamConfig
        Rate and channels, which the peer must have, too.

    Raises
    ------
    ConfigError
        If JackTrip has no such rate.
    NetworkError
        As :class:`~plc.transport.rtp.udp.UdpPort` raises it.
    """

    def __init__(self, endpoint: Endpoint, stream: StreamConfig) -> None:
        if stream.sample_rate not in RATES:
            known = ", ".join(map(str, RATES))
            raise ConfigError(f"sample_rate is {stream.sample_rate}; JackTrip has {known}")
        super().__init__(endpoint)
        self._format = RATES.index(stream.sample_rate), _BITS, stream.channels
        self._channels = stream.channels
        self._numbers = Unwrapper(16)
        self._ssrc = random.SystemRandom().getrandbits(32)
        self._told = False

    def send(self, datagram: bytes | None, target: Address) -> None:
        """Send an RTP packet as one of JackTrip."""
        packet = parse_rtp(datagram or b"")
        if isinstance(packet, RtpPacket):
            samples = np.frombuffer(packet.payload, ">i2").reshape(-1, self._channels)
            clock_us = time.time_ns() // 1000
            head = clock_us, packet.sequence, len(samples), *self._format, self._channels
            super().send(_HEADER.pack(*head) + samples.T.astype("<i2").tobytes(), target)

    def aged(self, at_most: int = 64) -> Iterator[tuple[bytes, Address, float]]:
        """Yield RTP packets, their senders and ages in s, without waiting."""
        for datagram, source, age_s in super().aged(at_most):
            yield from ((packet, source, age_s) for packet in self._packets(datagram))

    def _packets(self, datagram: bytes) -> list[bytes]:
        if datagram == FAREWELL:
            return [struct.pack(">BBHI", 0x81, _RTCP_BYE, 1, self._ssrc)]
        if len(datagram) < _HEADER.size:
            return []
        _, _, count, rate, bits, plays, sends = _HEADER.unpack_from(datagram)
        channels = sends or plays
        size = _HEADER.size + 2 * count * channels
        if (rate, bits, channels) != self._format or not count or len(datagram) % size:
            self._tell(rate, bits, channels)
            return []
        packets = []
        for at in range(len(datagram) - size, -1, -size):
            number = self._numbers.unwrap(_HEADER.unpack_from(datagram, at)[1])
            planes = np.frombuffer(datagram, "<i2", count * channels, at + _HEADER.size)
            payload = planes.reshape(channels, count).T.astype(">i2").tobytes()
            stamp = number * count % 2**32
            packets.append(build_rtp(RtpPacket(_L16, number % 2**16, stamp, self._ssrc, payload)))
        return packets

    def _tell(self, rate: int, bits: int, channels: int) -> None:
        """Report once a format of the peer that cannot be played."""
        if not self._told and rate < len(RATES):
            self._told = True
            notice.tell(
                f"JackTrip at the other end sends {RATES[rate]} Hz, {bits} bits, {channels} "
                f"channels: give --sample-rate {RATES[rate]} --channels {channels}"
                + (", and there --bitres 16" if bits != _BITS else "")
            )
