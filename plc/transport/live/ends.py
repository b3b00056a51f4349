"""The two ends of a live stream: packets from a device or the network, blocks to a device.

The output end also keeps the stream's time: see :class:`PlayClock`. A recording is a device, too
(:class:`FileBackend`): played in real time as an input, written as an output.
"""

import math
import random
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from plc import notice
from plc.engine.stream.stats import TimeHistogram
from plc.errors import AudioFileError, NetworkError
from plc.files.audio import AudioReader, count_samples
from plc.files.jobs import is_recording
from plc.files.writing import check_target
from plc.transport.cards import portaudio
from plc.transport.cards.card_ring import Ring
from plc.transport.cards.devices import Backend, Device, DevicePort, DeviceStream
from plc.transport.cards.rates import RateConverter
from plc.transport.rtp.codecs import Codec, Samplewise, samples_per_tick
from plc.transport.rtp.config import ReceiverConfig
from plc.transport.rtp.latch import Gate, Refusal
from plc.transport.rtp.outcomes import Peak, Verdict
from plc.transport.rtp.packetizer import Packetizer
from plc.transport.rtp.packets import Malformed, is_rtcp, ssrc_of
from plc.transport.rtp.rtcp import ended_by
from plc.transport.rtp.udp import Address, Backlog, Endpoint, UdpPort
from plc.transport.service.recorder import Recorder
from plc_kernels.receive.units import AHEAD_MOST

MAX_RESERVE_S = 0.5
# An output's clock is not believed to be further on than that from what it last confirmed.
_UNCONFIRMED_S = 0.1
# Clocks that are slower by more than this are followed late.
_SLOWEST = 1e-3
# Where there is no output, blocks that are overdue by more than this are left out.
_OVERDUE_S = 1.0
# Read from an input at once, at most.
_BOX_S = 0.25
# A stream ends so long after its recording, in which the last packets are played.
_SILENT_S = 0.25
_CHANNELS_MAX = 8


@dataclass(slots=True)
class LiveStats:
    """Counters of a live stream; its parts keep their own."""

    captured_packets: int = 0
    """Made of what the input device gave."""
    absent_packets: int = 0
    """That it would have given while it was away."""
    played_blocks: int = 0
    unheard_blocks: int = 0
    """Made while no output device was there."""
    starved_samples: int = 0
    """Silence that the output played for want of a block in time (the engine was late)."""
    reserve_raises: int = 0
    refused_datagrams: int = 0
    delay: TimeHistogram = field(default_factory=TimeHistogram)
    """From a packet's end at the input to its end at the output's ring, at each block."""
    step_time: TimeHistogram = field(default_factory=TimeHistogram)
    """What a visit of the engine took in which a block was made."""


def as_channels(samples: NDArray[np.float32], channels: int) -> NDArray[np.float32]:
    """Return samples, shape (n, c), as (n, channels): alike, the mean for one, one for all.

    Where both have several, the first ones are taken and missing ones are silent.
    """
    there = samples.shape[1]
    if there == channels:
        return samples
    if channels == 1:
        return np.asarray(samples.mean(axis=1, keepdims=True), np.float32)
    if there == 1:
        return np.repeat(samples, channels, axis=1)
    out = np.zeros((len(samples), channels), np.float32)
    out[:, : min(there, channels)] = samples[:, :channels]
    return out


def format_of(name: str) -> dict[str, int]:
    """Return rate and channels of an input that is a recording, by the names of options."""
    if not is_recording(Path(name)):
        return {}
    with AudioReader(name) as reader:
        return {"sample_rate": reader.sample_rate, "channels": reader.channels}


class FileBackend:
    """Recordings as devices, beside the sound cards.

    Parameters
    ----------
    backend : str
        What opens the sound cards: see :func:`plc.transport.cards.portaudio.open_backend`.
    source, output : str
        The devices of a stream; empty: none. A recording is played in real time as its input,
        silence behind it; as its output it is written until :meth:`close`.

    Raises
    ------
    AudioFileError
        If the input cannot be read, or the output not be written, or is there.
    ConfigError, MissingExtraError
        If a device is a sound card, and there is no such back end, or it is not installed.
    """

    name = "file"

    def __init__(self, backend: str, source: str, output: str = "") -> None:
        self._cards: Backend | None = None
        if not all(is_recording(Path(name)) for name in (source, output) if name):
            self._cards = portaudio.open_backend(backend)
        self._files: list[Device] = []
        self._recorder: Recorder | None = None
        self._heard = False
        self._blocks: Iterator[NDArray[np.float32]] | None = None
        self.length_s = math.inf
        """Until a stream of the input is to end."""
        if is_recording(Path(source)):
            self._reader = AudioReader(source)
            rate = self._reader.sample_rate
            self._files.append(self._device(source, rate, inputs=self._reader.channels))
            self.length_s = count_samples(source) / rate + _SILENT_S
        if is_recording(Path(output)):
            check_target(Path(output), Path(source))
            if Path(output).exists():
                raise AudioFileError(f"{output} exists; remove it, or choose another name")
            self._files.append(self._device(output, 0, outputs=_CHANNELS_MAX))

    def _device(self, name: str, rate: int, inputs: int = 0, outputs: int = 0) -> Device:
        return Device(backend=self.name, index=-1, name=name, host_api="", sample_rate=rate,
                      inputs=inputs, outputs=outputs)  # fmt: skip

    def devices(self) -> list[Device]:
        """Return the recordings and the sound cards."""
        return self._files + ([] if self._cards is None else self._cards.devices())

    def takes(self, device: Device, is_input: bool, sample_rate: int, channels: int) -> bool:
        """Return whether a recording has that rate, which one to be written takes, or a card."""
        if device in self._files:
            return not is_input or sample_rate == device.sample_rate
        assert self._cards is not None
        return self._cards.takes(device, is_input, sample_rate, channels)

    def open(
        self, device: Device, is_input: bool, sample_rate: int, block: int, ring: Ring
    ) -> DeviceStream:
        """Play or write a recording, from where it was on; or open a card."""
        if device not in self._files:
            assert self._cards is not None
            return self._cards.open(device, is_input, sample_rate, block, ring)
        box = np.zeros((block, ring.channels), np.float32)
        if is_input:
            self._blocks = self._blocks or self._reader.stream(block)
        elif self._recorder is None:
            self._recorder = Recorder(Path(device.name), sample_rate, ring.channels)

        def read() -> None:
            assert self._blocks is not None
            samples = as_channels(next(self._blocks, box[:0]), ring.channels)
            box[: len(samples)], box[len(samples) :] = samples, 0.0
            ring.take_in(box, False)

        def write() -> None:
            assert self._recorder is not None
            ring.give_out(box, False)
            self._heard = self._heard or bool(box.any())
            # What is before the first sound is written with it: there is no file of nothing.
            (self._recorder.write if self._heard else self._recorder.keep_back)(box)

        return _FileStream(ring, sample_rate, block, read if is_input else write)

    def refresh(self) -> None:
        """Look for cards again."""
        if self._cards is not None:
            self._cards.refresh()

    def close(self) -> None:
        """Keep the recording that was written; say so if nothing was heard."""
        if self._recorder is not None:
            self._recorder.close()
            if not self._heard:
                notice.tell(f"{self._recorder.path} was not made: nothing was heard")


class _FileStream:
    """Calls for each block when it is due, as a sound card does."""

    latency_s = 0.0

    def __init__(self, ring: Ring, sample_rate: int, block: int, call: Callable[[], None]) -> None:
        self.ring = ring
        self.sample_rate = sample_rate
        self.channels = ring.channels
        self._block_s = block / sample_rate
        self._call = call
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="plc recording", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        due_s = time.monotonic()
        while not self._ending.wait(due_s - time.monotonic()):
            self._call()
            due_s += self._block_s

    @property
    def active(self) -> bool:
        return self._thread.is_alive()

    def close(self) -> None:
        self._ending.set()
        self._thread.join()


class Float32(Samplewise):
    """Samples as they are, for packets that never leave the machine."""

    name = "float32"
    bytes_each = 4

    def _values(self, payload: bytes, count: int) -> NDArray[np.float32]:
        return np.frombuffer(payload, np.float32, count)

    def encode(self, samples: NDArray[np.float32]) -> bytes:
        """Return the payload."""
        return samples.tobytes()


class PlayClock:
    """The output device's clock, read between its callbacks.

    What a callback confirms is late by as much as it was held up, so the promptest ones count: the
    clock is as far ahead of ours as it ever was, less what it may have fallen behind since. If
    nothing is confirmed for a while, it stands still as the device does.
    """

    __slots__ = ("_ahead_s", "_confirmed_s", "_last_s", "_stands", "now_s")

    def __init__(self) -> None:
        self._ahead_s = -math.inf
        self._confirmed_s = -math.inf
        self._last_s = -math.inf
        self._stands = False
        self.now_s = 0.0

    def update(self, ours_s: float, confirmed_s: float) -> bool:
        """Update the clock: the device had played ``confirmed_s`` at ``ours_s``.

        Returns whether it goes on after it has stood still.
        """
        if self._ahead_s > -math.inf:
            self._ahead_s -= _SLOWEST * max(0.0, ours_s - self._last_s)
        if self._stands and confirmed_s > self._confirmed_s:
            self._ahead_s = -math.inf
        self._ahead_s = max(self._ahead_s, confirmed_s - ours_s)
        limit_s = confirmed_s + _UNCONFIRMED_S - ours_s
        beyond = self._ahead_s > limit_s
        self._ahead_s = min(self._ahead_s, limit_s)
        # The device has come as far as was taken for granted when it stopped.
        goes_on = self._stands and not beyond and ours_s + self._ahead_s >= self.now_s
        self._stands = beyond or (self._stands and not goes_on)
        self._confirmed_s = confirmed_s
        self._advance(ours_s)
        return goes_on

    def run(self, ours_s: float) -> None:
        """Go on without a device."""
        if self._ahead_s == -math.inf:
            self._ahead_s = -ours_s
        self._ahead_s += max(0.0, self._last_s - ours_s)  # ours was set back
        self._advance(ours_s)

    def _advance(self, ours_s: float) -> None:
        self._last_s = ours_s
        # Never back: what was due stays due.
        self.now_s = max(self.now_s, ours_s + self._ahead_s)


class DeviceSource:
    """Packets from an input device.

    Parameters
    ----------
    port : DevicePort, the device
    codec : Codec, of the packets
    block : int, samples of each
    stats : LiveStats, where to count
    ssrc : int, of the packets
    payload_type : int or None
        Of the packets; None: the codec's.
    """

    def __init__(
        self,
        port: DevicePort,
        codec: Codec,
        block: int,
        stats: LiveStats,
        ssrc: int = 1,
        payload_type: int | None = None,
    ) -> None:
        self._port = port
        self._ssrc = ssrc
        self._payload_type = payload_type
        self._stats = stats
        self._codec = codec
        self._block = block
        self._stream: DeviceStream | None = None
        self._resumes = False
        self._converter: RateConverter | None = None
        self._box = np.zeros((0, 0), np.float32)
        self._waiting = np.zeros((0, codec.channels), np.float32)
        self._numbers = 0
        self._packetizer = Packetizer(codec, ssrc=ssrc, payload_type=payload_type)
        self._last_s: float | None = None
        self._stopped = False
        self.peak = Peak()

    def stop(self) -> None:
        """Take nothing more in."""
        self._stopped = True

    def datagrams(self, ours_s: float) -> Iterator[bytes]:
        """Yield the packets that are whole."""
        stream = self._port.stream
        if stream is None or self._stopped:
            return
        if stream is not self._stream:
            self._begin(stream)
        n = stream.ring.read(self._box)
        if not n:
            return
        if not len(self._waiting) and self._resumes:
            self._count_absence(ours_s)
        samples = as_channels(self._box[:n], self._codec.channels)
        self.peak.note(samples, ours_s)
        if self._converter is not None:
            samples = self._converter.convert(samples)
        self._waiting = np.concatenate([self._waiting, samples])
        self._last_s = ours_s
        whole = len(self._waiting) // self._block * self._block
        for begin in range(0, whole, self._block):
            self._stats.captured_packets += 1
            self._numbers += 1
            yield self._packetizer.pack(self._waiting[begin : begin + self._block])
        self._waiting = self._waiting[whole:]

    def _begin(self, stream: DeviceStream) -> None:
        """Begin with an opened device; drop samples left by an earlier one."""
        self._resumes = self._stream is not None
        self._stream = stream
        rate, channels = self._codec.sample_rate, self._codec.channels
        self._converter = None
        if stream.sample_rate != rate:
            self._converter = RateConverter(stream.sample_rate, rate, channels)
        self._box = np.zeros((round(_BOX_S * stream.sample_rate), stream.channels), np.float32)
        self._waiting = self._waiting[:0]

    def _count_absence(self, ours_s: float) -> None:
        """Go on numbering as if packets had been made all the time; those count as lost.

        After so long that receivers take it for a restart, it is one, of another source: numbers
        half a turn ahead pass for old ones, which SRTP does not seal.
        """
        self._resumes = False
        assert self._last_s is not None
        period_s = self._block / self._codec.sample_rate
        absent = max(0, round((ours_s - self._last_s) / period_s) - 1)
        self._stats.absent_packets += absent
        self._numbers += absent
        if absent > AHEAD_MOST:
            self._ssrc, self._numbers = random.SystemRandom().getrandbits(32), 0
        self._packetizer = Packetizer(
            self._codec,
            ssrc=self._ssrc,
            sequence=self._numbers,
            timestamp=self._numbers * self._block // samples_per_tick(self._codec.name),
            payload_type=self._payload_type,
        )


class NetworkSource:
    """RTP from a UDP port, of the source that holds it.

    What its sender says by RTCP is heard at the same port (RFC 5761), and at the one after an even
    one (RFC 3550, section 11) where that is free.

    Parameters
    ----------
    listen : Endpoint or UdpPort
        Address to listen at, or the open port.
    stats : LiveStats, where to count
    config : ReceiverConfig
        Permitted senders, rate and key.
    """

    def __init__(
        self, listen: Endpoint | UdpPort, stats: LiveStats, config: ReceiverConfig
    ) -> None:
        self.port = listen if isinstance(listen, UdpPort) else UdpPort(listen)
        self._gate = Gate(config)
        self.latch, self.srtp = self._gate.latch, self._gate.srtp
        self._stats = stats
        self._stopped = False
        self._last: tuple[Address, bytes, float] | None = None
        self._ended: set[int] = set()
        self._backlog = Backlog([self.port])
        self._rtcp = _open_rtcp(self.port.endpoint)

    def close(self) -> None:
        """Close the ports."""
        self.port.close()
        if self._rtcp is not None:
            self._rtcp.close()

    def stop(self) -> None:
        """Take nothing more in."""
        self._stopped = True

    def datagrams(
        self, ours_s: float, clock: Callable[[], float] | None = None
    ) -> Iterator[tuple[bytes, float]]:
        """Yield the sender's datagrams, and when each came."""
        if self._stopped:
            return
        port = self.port
        for came, sender, age_s in port.aged():
            at_s = ours_s if clock is None else clock() - age_s
            # No earlier than what was here before, should the wall clock be set.
            port.heard_s = at_s = max(port.heard_s, at_s)
            datagram = self._gate.open(came, sender, at_s)
            if isinstance(datagram, Refusal):
                self._stats.refused_datagrams += datagram is not Refusal.SEALED
            elif is_rtcp(datagram):
                self._ended.update(ended_by(datagram))
            else:
                self._last = sender, datagram, at_s
                yield datagram, at_s
        if port.drained:
            port.heard_s = max(port.heard_s, ours_s)

    @property
    def drained(self) -> bool:
        """True if all datagrams that came have been read."""
        return self._stopped or self.port.drained

    def has_heard(self, until_s: float, ours_s: float) -> bool:
        """Return whether all that came until then is handed over, or was waited for too long."""
        return self._stopped or self._backlog.is_read(until_s, ours_s)

    def farewells(self) -> set[int]:
        """Return the sources that ended (RTCP BYE) since the last call."""
        if self._rtcp is not None and not self._stopped:
            for came, sender in self._rtcp.arrived():
                self._take_report(came, sender)
        ended, self._ended = self._ended, set()
        return ended

    def _take_report(self, came: bytes, sender: Address) -> None:
        """Take in RTCP that came at its own port: of the sender's host alone."""
        holder = self.latch.source
        if holder is None or sender[0] != holder[0]:
            self._stats.refused_datagrams += 1
            return
        datagram = came if self.srtp is None else self.srtp.open(came)
        if datagram is not None and is_rtcp(datagram):
            self._ended.update(ended_by(datagram))

    @property
    def sender(self) -> Address:
        """Sender of the newest datagram that was admitted."""
        return ("", 0) if self._last is None else self._last[0]

    def believe(self, datagram: bytes, verdict: Verdict | Malformed | None) -> bool:
        """Report a datagram's verdict to the latch; return whether an earlier sender returns.

        One that was held up on the way tells nothing of who sends now, unless it is of the same
        stream as the newest.
        """
        if self._last is None or isinstance(verdict, Malformed):
            return False
        sender, newest, now_s = self._last
        if ssrc_of(datagram) != ssrc_of(newest):
            return False
        return self.latch.heard(sender, newest, verdict, now_s, self.srtp is not None)


def _open_rtcp(endpoint: Endpoint) -> UdpPort | None:
    """Return the port after an even one; None where it is another's."""
    if endpoint.port % 2:
        return None
    try:
        return UdpPort(replace(endpoint, port=endpoint.port + 1))
    except NetworkError:
        return None


class DeviceSink:
    """Blocks to an output device, and its clock."""

    def __init__(
        self, port: DevicePort, sample_rate: int, block: int, reserve_s: float, stats: LiveStats
    ) -> None:
        self._port = port
        self._stats = stats
        self._rate = sample_rate
        self._period_s = block / sample_rate
        self._stream: DeviceStream | None = None
        self._converter: RateConverter | None = None
        self._begin_s = 0.0
        self._starved = 0
        self._written_s = 0.0
        self.reserve_s = reserve_s
        self.clock = PlayClock()
        self.peak = Peak()

    @property
    def waiting_s(self) -> float:
        """Audio ready for the device to play."""
        if self._stream is None:
            return 0.0
        return self._stream.ring.waiting / self._stream.sample_rate

    def update(self, ours_s: float) -> bool:
        """See how far the device is; return whether it goes on after it has stood still."""
        stream = self._port.stream
        if stream is not None and stream is not self._stream and not self._runs(stream):
            stream = None
        changed = stream is not self._stream
        if changed:
            self._begin(stream)
        if stream is None:
            self.clock.run(ours_s)
            return changed
        passed_s = stream.ring.passed / stream.sample_rate
        goes_on = self.clock.update(ours_s, self._begin_s + passed_s)
        starved = stream.ring.missed - self._starved
        if starved > 0:
            self._starved += starved
            self._stats.starved_samples += starved
            self._raise_reserve()
        return goes_on or changed

    def _runs(self, stream: DeviceStream) -> bool:
        """Return whether a device has begun to play; filling its buffer before that is no sign."""
        begins_s = 2.0 * (stream.latency_s + self._period_s)
        return stream.ring.passed >= begins_s * stream.sample_rate

    def due_s(self) -> float | None:
        """Return when the next block is due, by the device's clock; None: not yet."""
        stream = self._stream
        if stream is None:
            now_s = self.clock.now_s
            if now_s - self._written_s > _OVERDUE_S:
                overdue = int((now_s - self._written_s) / self._period_s)
                self._written_s += overdue * self._period_s
            return self._written_s if self._written_s <= now_s else None
        if self.waiting_s >= self.reserve_s:
            return None
        # Where it will stand among what the device plays, less the reserve.
        passed_s = stream.ring.passed / stream.sample_rate
        return self._begin_s + passed_s + self.waiting_s - self.reserve_s

    def write(self, block: NDArray[np.float32], ours_s: float) -> None:
        """Hand a block over, shape (n, channels)."""
        self._written_s += self._period_s
        self.peak.note(block, ours_s)
        stream = self._stream
        if stream is None:
            self._stats.unheard_blocks += 1
            return
        self._written_s = self._begin_s + stream.ring.passed / stream.sample_rate
        self._stats.played_blocks += 1
        samples = as_channels(block, stream.channels)
        if self._converter is not None:
            samples = self._converter.convert(samples)
        stream.ring.write(np.ascontiguousarray(samples))

    def _begin(self, stream: DeviceStream | None) -> None:
        self._stream = stream
        self._written_s = max(self._written_s, self.clock.now_s)
        if stream is None:
            return
        self._begin_s = self._written_s - stream.ring.passed / stream.sample_rate
        self._starved = stream.ring.missed
        self._converter = None
        if stream.sample_rate != self._rate:
            self._converter = RateConverter(self._rate, stream.sample_rate, stream.channels)
        ready = round(self.reserve_s * stream.sample_rate)
        stream.ring.write(np.zeros((ready, stream.channels), np.float32))

    def _raise_reserve(self) -> None:
        """Keep a packet more ready; the device found too little."""
        raised_s = min(self.reserve_s + self._period_s, MAX_RESERVE_S)
        self._stats.reserve_raises += raised_s > self.reserve_s
        self.reserve_s = raised_s
