"""libopus: the codec's own concealment, by ctypes.

``opus`` is the system's library at 64 kb/s for each channel, for audio, complexity 10. Options
stand behind colons, in any order: ``24k`` (bits of all channels together), ``voip``, ``audio`` or
``lowdelay``, ``c5`` (complexity of the decoder, which from libopus 1.5 on chooses deep concealment
at 5 and more where the library was built with it), and the path of another library.

``received`` plays what this project's RTP receiver makes of the packets after 100 ms: what later
packets repeat of lost ones is decoded, and the rest concealed by it. ``lbrr`` has packets of speech
repeat the frame before them, ``dred`` has all of them hold a second in a neural coder (libopus 1.5
and newer, where it was built with that); either implies ``received``.

The encoder is led in by a packet less its lookahead, so that packet k of the stream is decoded
from packet k + 1 of the codec and no delay is left. It gets the share of losses, as in a sender.
Without ``lbrr`` and ``dred`` there is no forward error correction: this measures concealment. Rates
other than Opus' own are resampled to 48 kHz.
"""

import ctypes
import itertools
import math
import re
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from plc.engine.stream.config import StreamConfig
from plc.errors import ConfigError
from plc.transport.rtp.codecs import Opus as RtpOpus
from plc.transport.rtp.config import ReceiverConfig
from plc.transport.rtp.delay import DelayConfig, DelayMode
from plc.transport.rtp.libopus import LibopusDecoder, bound
from plc.transport.rtp.packets import RtpPacket
from plc.transport.rtp.playout import Playout
from plc_bench.base.corpus import Samples
from plc_bench.peers.base import Contender, PeerError, load
from plc_bench.peers.rates import at_rate, whole_packet
from plc_bench.scores.metrics import Mask

RATES = (8_000, 12_000, 16_000, 24_000, 48_000)
FRAMES_PER_S = (50, 100, 200, 400)  # of 20, 10, 5 and 2.5 ms
BITS_PER_CHANNEL = 64_000
# opus_defines.h
APPLICATIONS = {"voip": 2048, "audio": 2049, "lowdelay": 2051}
_SET_BITRATE = 4002
_SET_COMPLEXITY = 4010
_SET_INBAND_FEC = 4012
_SET_PACKET_LOSS_PERC = 4014
_GET_LOOKAHEAD = 4027
_SET_DRED_DURATION = 4050  # in units of 10 ms
_LEAST = 1, 5
_PACKET_BYTES = 4000
_DELAY_MS = 100.0  # between the arrival of a packet and its turn, less a packet, if `received`


@dataclass(frozen=True, slots=True, kw_only=True)
class Opus:
    """libopus with its options.

    Attributes
    ----------
    bits : int or None
        A second, of all channels; None is :data:`BITS_PER_CHANNEL` for each.
    application : str, of :data:`APPLICATIONS`
    library : str
        ``opus`` for the system's, or a path.
    received, lbrr, dred : bool, as above
    """

    coded = True
    bits: int | None = None
    application: str = "audio"
    complexity: int = 10
    library: str = "opus"
    received: bool = False
    lbrr: bool = False
    dred: bool = False

    def play(self, signal: Samples, trace: Mask, packet_samples: int, sample_rate: int) -> Samples:
        """Play the stream."""
        if signal.shape[1] > 2:
            raise PeerError(f"Opus codes 1 or 2 channels; the stream has {signal.shape[1]}")
        rate = sample_rate if sample_rate in RATES and not self.received else 48_000
        packet = whole_packet(packet_samples, sample_rate, rate)
        codec = _Codec(self, rate, signal.shape[1], frame_of(packet, rate), float(trace.mean()))
        try:
            return at_rate(
                signal, sample_rate, rate, lambda there: codec.through(there, trace, packet)
            )
        finally:
            codec.close()


def peer(name: str) -> Contender:
    """Return the contender of a name such as ``opus:24k:voip``."""
    made = Opus()
    for option in name.split(":")[1:]:
        if bits := re.fullmatch(r"(\d+)k", option):
            made = replace(made, bits=1000 * int(bits[1]))
        elif complexity := re.fullmatch(r"c(\d|10)", option):
            made = replace(made, complexity=int(complexity[1]))
        elif option in APPLICATIONS:
            made = replace(made, application=option)
        elif option in ("received", "lbrr", "dred"):
            lbrr, dred = made.lbrr or option == "lbrr", made.dred or option == "dred"
            made = replace(made, received=True, lbrr=lbrr, dred=dred)
        elif "/" in option:
            made = replace(made, library=option)
        else:
            raise ConfigError(
                f"peer {name!r}: {option!r} is not understood; there are 64k, voip, audio, "
                "lowdelay, c0 to c10, received, lbrr, dred, and the path of a library (with a /)"
            )
    return made


def timed_decoder(
    packets: list[Samples], sample_rate: int, loss: float
) -> tuple[Callable[[int, bool], Samples | None] | None, str]:
    """Return a function that decodes or conceals a stream's packet k, and the library's name.

    None and why, if libopus is not installed, is older than 1.5, or has no such frames.

    Parameters
    ----------
    packets : list of float32, shape (packet_samples, channels), coded beforehand
    loss : float
        Share of them that is lost.
    """
    try:
        library = load("opus", "libopus0")
    except PeerError as error:
        return None, str(error)
    library.opus_get_version_string.restype = ctypes.c_char_p
    name = library.opus_get_version_string().decode()
    if tuple(map(int, re.findall(r"\d+", name)[:2])) < _LEAST:
        return None, f"{name} is older than {'.'.join(map(str, _LEAST))}"
    packet, channels = packets[0].shape
    frames = [sample_rate // per_s for per_s in FRAMES_PER_S]
    if sample_rate not in RATES or channels > 2 or packet not in frames:
        return None, f"{name} has no frames of {packet} samples, {channels} channels"
    codec = _Codec(Opus(), sample_rate, channels, packet, loss)
    coded = list(codec.coded(np.concatenate(packets)))
    decoder = codec.decoder
    codec.close()

    def decode(k: int, lost: bool) -> Samples | None:
        return decoder.conceal(packet) if lost else decoder.decode(coded[k % len(coded)], packet)

    return decode, name


def frame_of(packet: int, rate: int) -> int:
    """Return the longest frame that divides a packet, in samples.

    Raises
    ------
    PeerError
        If there is none.
    """
    for per_s in FRAMES_PER_S:
        if packet * per_s % rate == 0:
            return rate // per_s
    raise PeerError(
        f"packets of {1000 * packet / rate:g} ms; Opus has frames of 2.5, 5, 10 and 20 ms"
    )


class _Codec:
    """An encoder and its decoder, used once."""

    def __init__(self, opus: Opus, rate: int, channels: int, frame: int, loss: float) -> None:
        self._encoder = ctypes.c_void_p()
        self._frame, self._channels, self._received = frame, channels, opus.received
        loaded = load(opus.library, "libopus0")
        try:
            self._library = library = bound(loaded)
        except AttributeError as error:
            raise PeerError(f"{opus.library} is no libopus; Debian has it in libopus0") from error
        self.decoder = LibopusDecoder(library, channels, rate)
        self.decoder.set_complexity(opus.complexity)
        status = ctypes.c_int()
        library.opus_encoder_create.restype = ctypes.c_void_p
        self._encoder = ctypes.c_void_p(
            library.opus_encoder_create(
                rate, channels, APPLICATIONS[opus.application], ctypes.byref(status)
            )
        )
        self._check(status.value)
        settings = {
            _SET_BITRATE: opus.bits or BITS_PER_CHANNEL * channels,
            _SET_COMPLEXITY: 10,
            _SET_PACKET_LOSS_PERC: round(100 * loss),
            _SET_INBAND_FEC: opus.lbrr,
        } | ({_SET_DRED_DURATION: 100} if opus.dred else {})
        for request, value in settings.items():
            answer = library.opus_encoder_ctl(self._encoder, request, ctypes.c_int(value))
            if answer and request == _SET_DRED_DURATION:
                self.close()
                raise PeerError(f"{opus.library} has no DRED: name a libopus built with it")
            self._check(answer)

    def through(self, signal: Samples, trace: Mask, packet: int) -> Samples:
        """Return a signal coded, with packets lost, and decoded: aligned, of whole packets."""
        frame, channels = self._frame, self._channels
        lookahead = ctypes.c_int()
        self._check(
            self._library.opus_encoder_ctl(self._encoder, _GET_LOOKAHEAD, ctypes.byref(lookahead))
        )
        lead = -lookahead.value % frame
        skipped = (lead + lookahead.value) // frame  # frames until the signal begins
        lost = np.concatenate([np.zeros(skipped, bool), np.repeat(trace, packet // frame)])
        row = np.zeros((lost.size * frame, channels), np.float32)
        kept = signal[: len(row) - lead]
        row[lead : lead + len(kept)] = kept
        out = np.empty_like(row)
        if self._received:
            return self._receive(self.coded(row), lost, out)[skipped * frame :]
        for k, coded in enumerate(self.coded(row)):
            played = self.decoder.conceal(frame) if lost[k] else self.decoder.decode(coded, frame)
            if played is None:
                raise PeerError("libopus cannot decode its own packets")
            out[k * frame : (k + 1) * frame] = played
        return out[skipped * frame :]

    def _receive(self, packets: Iterator[bytes], lost: Mask, out: Samples) -> Samples:
        """Write an RTP receiver's output, less its delay, for packets that come on time."""
        n, channels = self._frame, self._channels
        how: Any = {"budget_ms": math.inf, "prepare": "never"}
        form = StreamConfig(channels=channels, packet_samples=n, **how)
        delay = DelayConfig(mode=DelayMode.FIXED, delay_ms=_DELAY_MS)
        codec = RtpOpus(channels, decoder=self.decoder)
        playout = Playout(ReceiverConfig(stream=form, codec="opus", delay=delay), codec)
        waits = 1 + round(_DELAY_MS * 48 / n)
        with closing(playout):
            for k, payload in enumerate(itertools.chain(packets, [b""] * waits)):
                now_s = k * n / 48_000
                if payload and not lost[k]:
                    packet = RtpPacket(codec.payload_type, k, k * n, 1, payload)
                    playout.arrivals.put(packet, now_s)
                block = playout.tick(now_s)
                if k >= waits:
                    out[(k - waits) * n :][:n] = block.T
        return out

    def coded(self, row: Samples) -> Iterator[bytes]:
        """Yield the frames of a signal, coded."""
        coded = ctypes.create_string_buffer(_PACKET_BYTES)
        for k in range(0, len(row), self._frame):
            block = ctypes.c_void_p(row[k : k + self._frame].ctypes.data)
            size = self._library.opus_encode_float(
                self._encoder, block, self._frame, coded, _PACKET_BYTES
            )
            yield coded.raw[: self._check(size)]

    def close(self) -> None:
        """Free the encoder."""
        if self._encoder:
            self._library.opus_encoder_destroy(self._encoder)
        self._encoder = ctypes.c_void_p()

    def _check(self, status: int) -> int:
        """Return libopus' result; raise PeerError if it is an error code."""
        if status >= 0:
            return status
        self.close()
        self._library.opus_strerror.restype = ctypes.c_char_p
        raise PeerError(f"libopus: {self._library.opus_strerror(status).decode()}")
