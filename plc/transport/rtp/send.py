"""Send a recording as RTP, at the pace of a clock: the counterpart of a receiver under test.

:class:`RtpSender` is a state machine with the clock passed in. The n-th packet is due n packet
lengths after the first, by a clock that may run fast or slow on purpose; a sender that was held up
sends what is overdue at once, as real ones do.
"""

import math
import random
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from plc.engine.stream.config import samples_of_packet
from plc.errors import ConfigError
from plc.files.audio import AudioReader
from plc.transport.rtp.codecs import (
    Codec,
    Opus,
    check_frame,
    open_codec,
    samples_per_tick,
    usual_rate,
)
from plc.transport.rtp.packetizer import Packetizer
from plc.transport.rtp.packets import RED_LENGTH_MAX, RED_OFFSET_MAX
from plc.transport.rtp.sdp import AudioMedia, media_of
from plc.transport.rtp.srtp import SrtpKey, SrtpSender, check_sealable
from plc.transport.rtp.udp import Address, Endpoint, UdpPort, sending_port

# Of a channel, with in-band FEC: at higher rates libopus takes its music coder, which has none.
_FEC_BIT_RATE = 24_000


class RtpSender:
    """A :class:`~plc.transport.rtp.udp.Service` that sends blocks of samples at their pace.

    Parameters
    ----------
    blocks : iterable of float32, shape (n, channels), one a packet
    packetizer : Packetizer, makes packets of them
    to : Endpoint, where they go
    second : Endpoint, optional, where each packet goes, too: a second path (SMPTE ST 2022-7)
    dscp : int, optional, what packets are marked with
    key : SrtpKey, optional, what packets are sealed with (SRTP)
    """

    def __init__(
        self,
        blocks: Iterable[NDArray[np.float32]],
        packetizer: Packetizer,
        to: Endpoint,
        *,
        second: Endpoint | None = None,
        dscp: int | None = None,
        key: SrtpKey | None = None,
    ) -> None:
        self._packetizer = packetizer
        self._key = key
        self._srtp = None if key is None else SrtpSender(key)
        self._blocks = iter(blocks)
        self._next: tuple[bytes, int] | None
        """The packet that is sent next, and its samples: the first one compiles what packs it."""
        self._pack_next()
        ends = [to] if second is None else [to, second]
        self._ports: list[UdpPort] = []
        try:
            for end in ends:
                self._ports.append(sending_port(end))
                if dscp is not None:
                    self._ports[-1].mark(dscp)
            self._targets = [port.target(end) for port, end in zip(self._ports, ends, strict=True)]
        except BaseException:
            self.close()
            raise
        self._rate = packetizer.codec.sample_rate
        self._begin_s: float | None = None
        self._samples = 0
        self.packets = 0

    @property
    def ports(self) -> Sequence[UdpPort]:
        """None to listen on."""
        return ()

    @property
    def next_s(self) -> float:
        """Time at which the next packet is due; at once before the first."""
        if self._next is None:
            return math.inf
        if self._begin_s is None:
            return -math.inf
        return self._begin_s + self._samples / self._rate

    @property
    def done(self) -> bool:
        """True if everything is sent."""
        return self._next is None

    @property
    def samples(self) -> int:
        """Samples sent."""
        return self._samples

    def receive(self, port: int, datagram: bytes, source: Address, now_s: float) -> None:
        """Nothing is received."""

    def advance(self, now_s: float) -> None:
        """Send the due packets."""
        if self._begin_s is None:
            self._begin_s = now_s
        while self._next is not None and self.next_s <= now_s:
            packet, samples = self._next
            self._send(packet)
            self._samples += samples
            self.packets += 1
            self._pack_next()

    def _pack_next(self) -> None:
        block = next(self._blocks, None)
        self._next = None if block is None else (self._packetizer.pack(block), len(block))

    def _send(self, packet: bytes) -> None:
        """Send a packet, sealed where there is a key; never plain where it cannot be sealed."""
        sealed = packet if self._srtp is None else self._srtp.seal(packet)
        for port, target in zip(self._ports, self._targets, strict=True):
            port.send(sealed, target)

    def stop(self, now_s: float) -> None:
        """Send nothing more."""
        self._next = None

    def media(self, to: Endpoint, packet_ms: float | str) -> AudioMedia:
        """Return the description of the sent stream."""
        block = samples_of_packet(packet_ms, self._packetizer.codec.sample_rate)
        return media_of(self._packetizer, to, block, self._key)

    def close(self) -> None:
        """Close the sockets."""
        for port in self._ports:
            port.close()


def open_sender(
    path: str | Path,
    to: Endpoint,
    codec: str = "l16",
    *,
    packet_ms: float | str = 10.0,
    bit_rate: int = 0,
    expected_loss: float = 0.0,
    redundancy: int = 0,
    loop: bool = False,
    seed: int | None = None,
    second: Endpoint | None = None,
    dscp: int | None = None,
    key: SrtpKey | None = None,
) -> RtpSender:
    """Return a sender of a recording.

    Parameters
    ----------
    path : str or Path, audio file; the codec must take its rate and channels
    to : Endpoint, where it goes
    codec : str, one of :data:`~plc.transport.rtp.codecs.CODECS`
    packet_ms : float or str, length of a packet; or its samples, as ``"352smp"``
    bit_rate : int, of Opus, in bit/s; 0: 64000 for each channel, 24000 with an expected loss
    expected_loss : float
        Of Opus, share of packets: above 0 packets repeat those before them (in-band FEC).
    redundancy, second, dscp, key
        As for :class:`~plc.transport.rtp.packetizer.Packetizer` and :class:`RtpSender`.
    loop : bool, begin again at its end, for ever
    seed : int or None
        Of the numbers that the stream begins with; None: unpredictable ones, as RFC 3550 asks.

    Raises
    ------
    AudioFileError
        If the recording cannot be read.
    ConfigError
        If the codec does not take it: resample it first; or if its packets are too long for the
        redundancy.
    """
    with AudioReader(path) as reader:
        coding = _coding_of(reader, codec, bit_rate, expected_loss)
    rng = random.SystemRandom() if seed is None else random.Random(seed)
    packetizer = Packetizer(
        coding,
        ssrc=rng.getrandbits(32),
        sequence=rng.getrandbits(16),
        timestamp=rng.getrandbits(32),
        redundancy=redundancy,
    )
    block = samples_of_packet(packet_ms, coding.sample_rate)
    check_frame(coding.name, block)
    if redundancy:
        _check_redundancy(coding, block, redundancy)
    if key is not None:
        if seed is not None:
            raise ConfigError(f"seed is {seed}; SRTP takes none: numbers must not repeat")
        check_sealable(coding.name, coding.sample_rate, coding.channels, block, redundancy)
    blocks = blocks_of(path, block, loop)
    return RtpSender(blocks, packetizer, to, second=second, dscp=dscp, key=key)


def _coding_of(reader: AudioReader, codec: str, bit_rate: int, expected_loss: float) -> Codec:
    name, rate = codec.lower(), reader.sample_rate
    if name in ("pcmu", "pcma", "g722") and rate != usual_rate(name):
        raise ConfigError(
            f"{reader.path} has {rate} Hz; {name} is sent at {usual_rate(name)} Hz: resample it "
            "first"
        )
    if not bit_rate and not expected_loss:
        return open_codec(name, rate, reader.channels)
    if name != "opus":
        raise ConfigError(f"codec is {name}; only opus takes a bit rate and in-band FEC")
    if rate != Opus.sample_rate:
        raise ConfigError(f"{reader.path} has {rate} Hz; Opus over RTP has 48000 Hz: resample it")
    if expected_loss and not bit_rate:
        bit_rate = _FEC_BIT_RATE * reader.channels
    return Opus(reader.channels, bit_rate, expected_loss)


def _check_redundancy(codec: Codec, block: int, redundancy: int) -> None:
    """Raise ConfigError unless packets can repeat this number before them."""
    block //= samples_per_tick(codec.name)
    if redundancy * block > RED_OFFSET_MAX:
        raise ConfigError(
            f"redundancy is {redundancy} packets of {block} samples; RFC 2198 reaches back "
            f"{RED_OFFSET_MAX} samples: repeat fewer, or send shorter ones"
        )
    if codec.name == "opus":
        return  # as long as it comes out; a long one is not repeated
    size = len(codec.encode(np.zeros((block, codec.channels), np.float32)))
    if size > RED_LENGTH_MAX:
        raise ConfigError(
            f"packets hold {size} bytes; RFC 2198 repeats at most {RED_LENGTH_MAX}: send shorter "
            "ones, or without redundancy"
        )


def blocks_of(path: str | Path, block: int, loop: bool = False) -> Iterator[NDArray[np.float32]]:
    """Yield a recording in blocks, with silence for missing samples.

    Parameters
    ----------
    path : str or Path, audio file
    block : int, samples of each block
    loop : bool, begin again at its end, for ever
    """
    while True:
        with AudioReader(path) as reader:
            for piece in reader.stream(block):
                if len(piece) < block:
                    piece = np.pad(piece, ((0, block - len(piece)), (0, 0)))
                yield np.nan_to_num(piece, copy=False, posinf=0.0, neginf=0.0)
        if not loop:
            return
