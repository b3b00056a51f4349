"""FFmpeg's decoders, through PyAV: what a player built on FFmpeg makes of packets that are lost.

``ffmpeg`` is its own Opus decoder; others are ``ffmpeg:libopus``, ``ffmpeg:aac``, ``ffmpeg:mp3``.
FFmpeg has no way to tell a decoder that a packet is missing: an empty packet ends the stream. So
nothing comes out for it, the next packet is decoded as if it followed, and the hole stays where the
time stamps leave it (silence, as ``-af aresample=async=1`` fills it). A codec whose frames overlap
fades into the hole and out of it, and that is all; this peer is here to measure it.

A packet of the stream is one frame of the codec, or several: Opus takes 2.5 to 60 ms, AAC has
1024 samples (``--packet-samples 1024``) and MP3 1152.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plc.errors import ConfigError, MissingExtraError
from plc_bench.peers.base import Contender, PeerError
from plc_bench.peers.opus import BITS_PER_CHANNEL, frame_of
from plc_bench.peers.rates import at_rate, to_int16, whole_packet
from plc_bench.scores.metrics import Mask

# Samples that the encoder, and the decoder behind it, come late.
OPUS_DELAY = 312  # libopus for audio at 48 kHz
AAC_DELAY = 1024  # one frame of overlap
MP3_DELAY = 1105  # LAME's 576 and a decoder's 529
_LAYOUTS = {1: "mono", 2: "stereo"}


@dataclass(frozen=True, slots=True)
class FFmpeg:
    """A decoder of FFmpeg's, behind an encoder of the same format.

    Attributes
    ----------
    decoder : str
        ``opus``, ``libopus``, ``aac`` or ``mp3``.
    """

    decoder: str

    @property
    def coded(self) -> bool:
        """True: it is a codec."""
        return True

    def play(
        self, signal: NDArray[np.float32], trace: Mask, packet_samples: int, sample_rate: int
    ) -> NDArray[np.float32]:
        """Return what a listener hears."""
        if signal.shape[1] not in _LAYOUTS:
            raise PeerError(f"1 or 2 channels are coded; the stream has {signal.shape[1]}")
        rate = 48_000 if self.decoder.endswith("opus") else sample_rate
        packet = whole_packet(packet_samples, sample_rate, rate)
        return at_rate(signal, sample_rate, rate, lambda x: self._through(x, trace, packet, rate))

    def _through(
        self, signal: NDArray[np.float32], trace: Mask, packet: int, rate: int
    ) -> NDArray[np.float32]:
        frame, delay = self._framing(packet, rate)
        lead = -delay % frame
        skipped = (lead + delay) // frame
        lost = np.concatenate([np.zeros(skipped, bool), np.repeat(trace, packet // frame)])
        # One frame more pushes the last ones out.
        line = np.zeros(((lost.size + 1) * frame, signal.shape[1]), np.float32)
        line[lead : lead + len(signal)] = signal[: len(line) - lead]
        coded = self._encode(line, frame, rate)
        out = self._decode(coded, lost, frame, rate, signal.shape[1])
        return out[skipped * frame :]

    def _framing(self, packet: int, rate: int) -> tuple[int, int]:
        """Return the length of a frame and the codec's delay, in samples."""
        if self.decoder.endswith("opus"):
            return frame_of(packet, rate), OPUS_DELAY
        frame, delay = (1024, AAC_DELAY) if self.decoder == "aac" else (1152, MP3_DELAY)
        if packet % frame:
            raise PeerError(
                f"packets of {packet} samples; {self.decoder} has frames of {frame}: "
                f"--packet-samples {frame}"
            )
        return frame, delay

    def _encode(self, line: NDArray[np.float32], frame: int, rate: int) -> list[Any]:
        """Return the coded frames, one for each frame of the line."""
        av = _av()
        name = {"opus": "libopus", "mp3": "libmp3lame"}.get(self.decoder, self.decoder)
        kind = "s16" if name == "libopus" else "fltp"
        try:
            encoder = av.CodecContext.create(name, "w")
            encoder.sample_rate, encoder.layout = rate, _LAYOUTS[line.shape[1]]
            encoder.format = kind
            encoder.bit_rate = BITS_PER_CHANNEL * line.shape[1]
            if name == "libopus":
                encoder.options = {"frame_duration": f"{1000 * frame / rate:g}"}
            packets = []
            for at in range(0, len(line), frame):
                block = _audio_frame(av, line[at : at + frame], kind, rate)
                block.pts = at
                packets += encoder.encode(block)
            return packets + list(encoder.encode(None))
        except (av.FFmpegError, ValueError) as error:
            raise PeerError(f"FFmpeg cannot encode {self.decoder} here: {error}") from error

    def _decode(
        self, coded: list[Any], lost: Mask, frame: int, rate: int, channels: int
    ) -> NDArray[np.float32]:
        """Return what is decoded of the frames that arrive, each in its place."""
        av = _av()
        out = np.zeros((lost.size * frame, channels), np.float32)
        decoder = av.CodecContext.create(self.decoder, "r")
        decoder.options = {"flags2": "skip_manual"}  # leave the samples that lead in
        decoder.sample_rate, decoder.layout = rate, _LAYOUTS[channels]
        if self.decoder == "aac" and coded:
            decoder.extradata = _aac_header(rate, channels)
        for k in np.flatnonzero(~lost[: len(coded)]):
            try:
                frames = decoder.decode(coded[k])
            except av.FFmpegError:
                continue  # what a player does: go on with the next one
            for decoded in frames[:1]:
                samples = _samples(decoded, channels)[:frame]
                out[k * frame : k * frame + len(samples)] = samples
        return out


def peer(name: str) -> Contender:
    """Return the contender of a name such as ``ffmpeg:aac``."""
    _, colon, decoder = name.partition(":")
    if colon and decoder not in ("opus", "libopus", "aac", "mp3"):
        raise ConfigError(
            f"peer {name!r}: decoder {decoder!r}; there are opus, libopus, aac and mp3"
        )
    return FFmpeg(decoder or "opus")


def _av() -> Any:
    try:
        import av
    except ImportError as error:
        raise MissingExtraError("FFmpeg needs PyAV: pip install 'plc-engine[media]'") from error
    return av


def _audio_frame(av: Any, block: NDArray[np.float32], kind: str, rate: int) -> Any:
    layout = _LAYOUTS[block.shape[1]]
    if kind == "s16":
        samples: Any = to_int16(block).reshape(1, -1)
    else:
        samples = np.ascontiguousarray(block.T)
    made = av.AudioFrame.from_ndarray(samples, format=kind, layout=layout)
    made.sample_rate = rate
    return made


def _samples(decoded: Any, channels: int) -> NDArray[np.float32]:
    """Return a decoded frame: float32, shape (n, channels)."""
    values = decoded.to_ndarray()
    if not decoded.format.is_planar:
        values = values.reshape(-1, channels).T
    if values.dtype == np.int16:
        values = values / np.float32(32768.0)
    return np.asarray(values.T, np.float32)


def _aac_header(rate: int, channels: int) -> bytes:
    """Return the AudioSpecificConfig of AAC-LC (ISO/IEC 14496-3, 1.6.2.1)."""
    rates = (96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000)
    if rate not in rates:
        raise PeerError(f"AAC has no sample rate of {rate} Hz; it has {', '.join(map(str, rates))}")
    return ((2 << 11) | (rates.index(rate) << 7) | (channels << 3)).to_bytes(2, "big")
