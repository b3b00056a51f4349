"""Make RTP packets of blocks of samples: the counterpart of the parser.

:class:`Packetizer` numbers and times the packets of one stream and repeats earlier payloads in
later ones (RFC 2198) where that is asked for. It has no socket and no clock: whoever sends the
packets keeps their pace.
"""

import numpy as np
from numpy.typing import NDArray

from plc.transport.rtp.codecs import Codec, samples_per_tick
from plc.transport.rtp.packets import RedBlock, RtpPacket, build_red, build_rtp
from plc_kernels.receive.units import AHEAD_MOST

RED_PAYLOAD_TYPE = 100


class Packetizer:
    """Blocks of samples to RTP packets.

    Parameters
    ----------
    codec : Codec, what the payloads are coded in
    ssrc, sequence, timestamp : int, which stream, and where its numbers begin
    redundancy : int, earlier payloads that each packet repeats (RFC 2198)
    payload_type, red_payload_type : int, optional, instead of the codec's own, and of 100
    """

    def __init__(
        self,
        codec: Codec,
        *,
        ssrc: int,
        sequence: int = 0,
        timestamp: int = 0,
        redundancy: int = 0,
        payload_type: int | None = None,
        red_payload_type: int = RED_PAYLOAD_TYPE,
    ) -> None:
        self.codec = codec
        self.ssrc = ssrc
        self.payload_type = codec.payload_type if payload_type is None else payload_type
        self.red_payload_type = red_payload_type
        self.redundancy = redundancy
        self.packets = 0
        self.octets = 0
        """Of payloads, as sender reports count them (RFC 3550, section 6.4.1)."""
        self._earlier: list[tuple[int, bytes]] = []
        self._sequence = sequence % 2**16
        self._timestamp = timestamp % 2**32
        self._samples_per_tick = samples_per_tick(codec.name)
        self._marker = True

    @property
    def timestamp(self) -> int:
        """Timestamp of the next packet."""
        return self._timestamp

    def pack(self, samples: NDArray[np.float32]) -> bytes:
        """Return the next packet, with these samples, shape (n, channels)."""
        payload = self.codec.encode(samples)
        payload_type = self.payload_type
        body = payload
        if self.redundancy:
            body = self._with_redundancy(payload)
            payload_type = self.red_payload_type
        packet = RtpPacket(
            payload_type, self._sequence, self._timestamp, self.ssrc, body, self._marker
        )
        self._marker = False
        self.packets += 1
        self.octets += len(body)
        self._sequence = (self._sequence + 1) % 2**16
        self._timestamp = (self._timestamp + len(samples) // self._samples_per_tick) % 2**32
        return build_rtp(packet)

    def leave_out(self, packets: int, samples: int) -> None:
        """Give numbers and times to packets that are not made: their receiver conceals them.

        More than a receiver takes for lost (RFC 3550, appendix A.1: 3000) are a pause: they have
        times, and no numbers.

        Parameters
        ----------
        packets, samples : int, how many, and of how many samples each
        """
        numbers = packets if packets < AHEAD_MOST else 0
        self._sequence = (self._sequence + numbers) % 2**16
        ticks = packets * (samples // self._samples_per_tick)
        self._timestamp = (self._timestamp + ticks) % 2**32

    def _with_redundancy(self, payload: bytes) -> bytes:
        blocks = [
            RedBlock(self.payload_type, (self._timestamp - timestamp) % 2**32, earlier)
            for timestamp, earlier in self._earlier
        ]
        self._earlier.append((self._timestamp, payload))
        del self._earlier[: -self.redundancy]
        return build_red([*blocks, RedBlock(self.payload_type, 0, payload)])
