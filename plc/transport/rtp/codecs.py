"""Codecs of RTP payloads: L16, L24, G.711 (PCMU, PCMA), G.722 and Opus.

A codec turns payloads into samples, float32 of shape (n, channels), and back. It never raises for
what a payload holds: what cannot be decoded is None. L16, L24 and G.711 are stateless, come from
their standards' definitions and pass what they decoded through bit for bit. G.722 is coded by PyAV;
its timestamps count half its samples (:func:`samples_per_tick`). Opus is encoded by PyAV
(extra ``rtp``) and decoded by the system's libopus, which can use what packets
repeat of those before them (:mod:`plc.transport.rtp.libopus`); by PyAV where there is none. What is
lost for good is concealed by us, like anything else.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plc.errors import ConfigError, not_copied
from plc.extras import needed
from plc.transport.rtp.libopus import LibopusDecoder, opus_samples
from plc_kernels.signal.packet import pack_int16

Samples = NDArray[np.float32]

_BIG_ENDIAN = np.dtype(">i2")
# A second: behind that much speech a new decoder of G.722 is in the same state; half is 1e-4 off.
_G722_REMEMBERS = 8000
_INT16_SCALE = np.float32(2.0**15)
_INT24_SCALE = np.float32(2.0**23)
_INT32_SCALE = np.float32(2.0**31)


class Codec(ABC):
    """One direction of a stream; decoding and encoding keep state where the coding does."""

    name: str
    sample_rate: int
    """Of the samples; timestamps count :func:`samples_per_tick` of them."""
    channels: int
    payload_type: int

    @abstractmethod
    def samples(self, payload: bytes) -> int:
        """Return the length of a payload's audio in samples, without decoding it; 0: none."""

    @abstractmethod
    def decode(self, payload: bytes) -> Samples | None:
        """Return the samples, shape (n, channels); None if the payload is malformed."""

    @abstractmethod
    def encode(self, samples: Samples) -> bytes:
        """Return the payload of ``samples``, shape (n, channels); beyond full scale it clips."""

    def repeated(self, payload: bytes) -> int:
        """Return how many of the samples before a payload's it repeats; 0: none."""
        return 0

    def decode_repeated(self, payload: bytes, offset: int) -> Samples | None:
        """Return the samples from ``offset`` before its own on, or None; shape (n, channels).

        They are as many as its own, or ``offset`` if that is less.
        """
        return None

    def pass_lost(self, samples: int) -> None:
        """Let a decoder with state go on over samples that are lost."""
        return

    def memory(self) -> Any:
        """Return the decoder's state; None if it has none, or does not give it."""
        return None

    def recall(self, memory: Any) -> None:
        """Go back to the state that :meth:`memory` returned."""
        return


class Samplewise(Codec):
    """Sample by sample, channel by channel."""

    bytes_each: int
    """Of a sample of one channel."""
    payload_type = 96
    """Of what has no number of its own."""

    def __init__(self, sample_rate: int, channels: int) -> None:
        self.sample_rate, self.channels = sample_rate, channels
        coding = self.name, sample_rate, channels
        self.payload_type = _STATIC_NUMBERS.get(coding, self.payload_type)

    def samples(self, payload: bytes) -> int:
        """Return the length in samples; a cut last one does not count."""
        return len(payload) // (self.bytes_each * self.channels)

    def decode(self, payload: bytes) -> Samples | None:
        """Return the samples, shape (n, channels)."""
        n = self.samples(payload)
        if n == 0:
            return None
        return self._values(payload, n * self.channels).reshape(n, self.channels)

    @abstractmethod
    def _values(self, payload: bytes, count: int) -> Samples:
        """Return the first values of a payload, shape (count,)."""


class L16(Samplewise):
    """Linear 16 bits, big-endian (RFC 3551, section 4.5.11)."""

    name = "l16"
    bytes_each = 2

    def _values(self, payload: bytes, count: int) -> Samples:
        words = np.frombuffer(payload, _BIG_ENDIAN, count)
        return np.divide(words, _INT16_SCALE, dtype=np.float32)

    def encode(self, samples: Samples) -> bytes:
        """Return the payload."""
        return _to_int16(samples).astype(_BIG_ENDIAN).tobytes()


class L24(Samplewise):
    """Linear 24 bits, big-endian (RFC 3190, section 4).

    AES67 and ST 2110-30 send them. float32 holds every value of 24 bits, so that they pass
    unchanged.
    """

    name = "l24"
    bytes_each = 3

    def _values(self, payload: bytes, count: int) -> Samples:
        words = np.zeros((count, 4), np.uint8)
        # In the upper three bytes of a word: its sign is theirs.
        words[:, :3] = np.frombuffer(payload, np.uint8, 3 * count).reshape(-1, 3)
        return words.view(">i4").astype(np.float32).ravel() / _INT32_SCALE

    def encode(self, samples: Samples) -> bytes:
        """Return the payload."""
        rounded = np.rint(samples * _INT24_SCALE).clip(-(2**23), 2**23 - 1)
        words = rounded.astype(">i4").reshape(-1, 1).view(np.uint8)
        payload: bytes = words[:, 1:].tobytes()
        return payload


class G711(Samplewise):
    """Logarithmic 8 bits by table (ITU-T G.711): PCMU or PCMA."""

    bytes_each = 1
    payload_type = 97

    def __init__(self, law: str, sample_rate: int = 8000, channels: int = 1) -> None:
        self.name = law
        super().__init__(sample_rate, channels)
        codes = np.arange(256)
        decoded = _decode_mu_law(codes) if law == "pcmu" else _decode_a_law(codes)
        self._decoded = (decoded / 32768.0).astype(np.float32)
        self._encoded = _nearest_codes(decoded)

    def _values(self, payload: bytes, count: int) -> Samples:
        return self._decoded[np.frombuffer(payload, np.uint8, count)]

    def encode(self, samples: Samples) -> bytes:
        """Return the payload: of each sample the code that decodes nearest to it."""
        return self._encoded[_to_int16(samples).astype(np.int32) + 32768].tobytes()


class _ByPyAV(Codec):
    """A codec whose encoder is PyAV's.

    Parameters
    ----------
    what, coder, layout : str, its name in messages; PyAV's name of it, and of its channels
    """

    def __init__(self, what: str, coder: str, layout: str) -> None:
        self._av = _import_av(what)
        self._coder, self._layout = coder, layout
        self._decoder: Any = None
        self._encoder: Any = None
        self._encoded_samples = 0

    def encode(self, samples: Samples) -> bytes:
        """Return the payload; every call takes the same number of samples, one that it has."""
        if self._encoder is None:
            check_frame(self.name, len(samples))
            self._encoder = self._open_encoder(len(samples))
        frame = self._av.AudioFrame.from_ndarray(
            _to_int16(samples).reshape(1, -1), format="s16", layout=self._layout
        )
        frame.sample_rate = self.sample_rate
        frame.pts = self._encoded_samples
        self._encoded_samples += len(samples)
        return b"".join(bytes(packet) for packet in self._encoder.encode(frame))

    @abstractmethod
    def _open_encoder(self, samples: int) -> Any:
        """Return an encoder of frames of so many samples."""

    def _decoded(self, payload: bytes) -> Samples | None:
        """Return PyAV's samples of a payload; None unless they are as many as it announces."""
        try:
            frames = self._decoder.decode(self._av.Packet(payload))
            pieces = [self._to_samples(frame) for frame in frames]
        except (self._av.error.FFmpegError, ValueError):
            # A decoder that has failed may stay so; a new one has no memory, but works.
            self._decoder = self._open("r")
            return None
        joined = np.concatenate(pieces) if pieces else np.empty((0, self.channels), np.float32)
        return joined if len(joined) == self.samples(payload) else None

    def _to_samples(self, frame: Any) -> Samples:
        values = frame.to_ndarray()
        if values.dtype == np.int16:
            values = values.astype(np.float32) / _INT16_SCALE
        if frame.format.is_planar:
            return np.ascontiguousarray(values.T, np.float32)
        return np.ascontiguousarray(values.reshape(-1, self.channels), np.float32)

    def _open(self, way: str) -> Any:
        context = self._av.CodecContext.create(self._coder, way)
        context.sample_rate = self.sample_rate
        context.layout = self._layout
        return context


class G722(_ByPyAV):
    """G.722 at 64 kbit/s (RFC 3551, section 4.5.2): 16 kHz, one channel."""

    name = "g722"
    sample_rate = 16_000
    channels = 1
    payload_type = 9

    def __init__(self) -> None:
        super().__init__("G.722", "g722", "mono")
        self._decoder = self._open("r")
        self._past = b""

    def samples(self, payload: bytes) -> int:
        """Return the length in samples."""
        return 2 * len(payload)

    def decode(self, payload: bytes) -> Samples | None:
        """Return the samples, shape (n, 1)."""
        self._past = (self._past + payload)[-_G722_REMEMBERS:]
        return self._decoded(payload) if payload else None

    def memory(self) -> bytes:
        """Return the payloads before, as many as a new decoder needs to be in the same state."""
        return self._past

    def recall(self, memory: bytes) -> None:
        """Go on behind these payloads."""
        self._decoder, self._past = self._open("r"), memory
        if memory:
            self._decoded(memory)

    def _open_encoder(self, samples: int) -> Any:
        encoder = self._open("w")
        encoder.format = "s16"
        encoder.options = {"frame_size": str(samples)}
        return encoder


class Opus(_ByPyAV):
    """Opus (RFC 6716, RFC 7587) at 48 kHz, by libopus.

    Parameters
    ----------
    channels : int, 1 or 2
    bit_rate : int, for encoding, in bit/s; 0: 64000 for each channel
    expected_loss : float
        For encoding, share of packets: above 0 packets repeat those before them at a lower rate,
        as far as the encoder thinks it worth while; of speech at up to about 30 kb/s it does.
    decoder : LibopusDecoder, optional, instead of one of the system's libopus
    """

    name = "opus"
    sample_rate = 48_000

    __reduce_ex__ = not_copied("make another of the same settings")

    def __init__(
        self,
        channels: int,
        bit_rate: int = 0,
        expected_loss: float = 0.0,
        decoder: LibopusDecoder | None = None,
    ) -> None:
        if channels not in (1, 2):
            raise ConfigError(f"channels is {channels}; Opus over RTP has 1 or 2")
        self.channels = channels
        self.payload_type = 111
        self._bit_rate = bit_rate or 64_000 * channels
        super().__init__("Opus", "libopus", "mono" if channels == 1 else "stereo")
        self._expected_loss = expected_loss
        self._libopus = decoder or LibopusDecoder.open(channels)
        self._decoder = None if self._libopus else self._open("r")

    def samples(self, payload: bytes) -> int:
        """Return the length by the payload's first bytes (RFC 6716, section 3)."""
        return opus_samples(payload)

    def decode(self, payload: bytes) -> Samples | None:
        """Return the samples, shape (n, channels)."""
        if not (n := opus_samples(payload)):
            return None
        return self._libopus.decode(payload, n) if self._libopus else self._decoded(payload)

    def repeated(self, payload: bytes) -> int:
        """Return how many of the samples before a payload's it repeats."""
        return self._libopus.reach(payload) if self._libopus else 0

    def decode_repeated(self, payload: bytes, offset: int) -> Samples | None:
        """Return as many as its own, or ``offset`` if that is less, or None; (n, channels)."""
        n = min(opus_samples(payload), offset)
        return self._libopus.decode_repeated(payload, offset, n) if self._libopus and n else None

    def pass_lost(self, samples: int) -> None:
        """Let libopus conceal lost samples, which nobody hears."""
        if self._libopus:
            self._libopus.pass_lost(samples)

    def memory(self) -> Any:
        """Return libopus' state; None of PyAV's."""
        return self._libopus.memory() if self._libopus else None

    def recall(self, memory: Any) -> None:
        """Go back to a state of libopus."""
        assert self._libopus is not None
        self._libopus.recall(memory)

    def _open_encoder(self, samples: int) -> Any:
        encoder = self._open("w")
        encoder.format = "s16"
        encoder.bit_rate = self._bit_rate
        encoder.options = {"frame_duration": f"{1000.0 * samples / self.sample_rate:g}"}
        if self._expected_loss:
            encoder.options |= {
                "application": "voip",
                "fec": "1",
                "packet_loss": f"{100 * self._expected_loss:.0f}",
            }
        return encoder


CODECS = ("l16", "l24", "pcmu", "pcma", "g722", "opus")
# RFC 3551, table 4: payload types that say all by themselves, and what they say.
STATIC_CODINGS = {
    0: ("pcmu", 8000, 1),
    8: ("pcma", 8000, 1),
    9: ("g722", 16_000, 1),
    10: ("l16", 44_100, 2),
    11: ("l16", 44_100, 1),
}
_STATIC_NUMBERS = {coding: number for number, coding in STATIC_CODINGS.items()}


def open_beside(codec: Codec, more: Iterable[tuple[int, str]] = ()) -> dict[int, Codec]:
    """Return codecs of the same samples, by payload type: static ones, and those named.

    A sender may change between them from packet to packet (RFC 3551, section 3).
    """
    form = codec.sample_rate, codec.channels
    static = ((number, name) for number, (name, *its) in STATIC_CODINGS.items() if its == [*form])
    clock = samples_per_tick(codec.name)
    return {
        number: open_codec(name, *form)
        for number, name in (*static, *more)
        if samples_per_tick(name) == clock
    }


def open_codec(name: str, sample_rate: int, channels: int) -> Codec:
    """Return a codec by name.

    Parameters
    ----------
    name : str, one of :data:`CODECS`, in any case
    sample_rate : int, in Hz; Opus takes 48000 only, G.722 16000
    channels : int, 1 to 8; Opus takes 1 or 2, G.722 takes 1

    Raises
    ------
    ConfigError
        If there is no such codec, or not at that rate.
    MissingExtraError
        If it needs PyAV, which is not installed.
    """
    if not 1 <= channels <= 8:
        raise ConfigError(f"channels is {channels}; supported: 1 to 8")
    match name.lower():
        case "l16":
            return L16(sample_rate, channels)
        case "l24":
            return L24(sample_rate, channels)
        case "pcmu" | "pcma" as law:
            return G711(law, sample_rate, channels)
        case "g722":
            if (sample_rate, channels) != (G722.sample_rate, G722.channels):
                raise ConfigError(
                    f"{channels} channels at {sample_rate} Hz were asked for; G.722 over RTP has "
                    "one channel at 16000 Hz, always"
                )
            return G722()
        case "opus":
            if sample_rate != Opus.sample_rate:
                raise ConfigError(
                    f"sample_rate is {sample_rate} Hz; Opus over RTP has 48000 Hz, always"
                )
            return Opus(channels)
    raise ConfigError(f"codec is {name!r}; supported: {', '.join(CODECS)}")


def usual_rate(codec: str) -> int:
    """Return the usual sample rate of a codec, in Hz."""
    return {"pcmu": 8_000, "pcma": 8_000, "g722": G722.sample_rate}.get(codec.lower(), 48_000)


def samples_per_tick(codec: str) -> int:
    """Return the samples that a unit of a codec's timestamps stands for.

    Two for G.722, whose clock has 8000 Hz by an error that was kept (RFC 3551, section 4.5.2).
    """
    return 2 if codec == "g722" else 1


def check_frame(codec: str, samples: int) -> None:
    """Raise ConfigError unless a codec has packets of this length, at the rate that it has."""
    if codec == "g722" and samples % 2:
        raise ConfigError(f"packets are {samples} samples; G.722 has an even number of them")
    if codec == "opus" and samples not in (120, 240, 480, 960, 1920, 2880):
        raise ConfigError(
            f"packets are {samples / 48.0:g} ms; Opus has frames of 2.5, 5, 10, 20, 40 or 60 ms"
        )


def _to_int16(samples: Samples) -> NDArray[np.int16]:
    rounded = np.empty(samples.shape, np.int16)
    pack_int16(np.ascontiguousarray(samples.T, np.float32), rounded)
    return rounded


def _decode_mu_law(codes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the 16-bit values of PCMU codes (G.711, table 2a; 14 bits, left-justified)."""
    inverted = ~codes & 0xFF
    exponent = inverted >> 4 & 7
    magnitude = ((((inverted & 15) << 3) + 0x84) << exponent) - 0x84
    return np.where(inverted & 0x80, -magnitude, magnitude)


def _decode_a_law(codes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the 16-bit values of PCMA codes (G.711, table 1a; 13 bits, left-justified)."""
    even = codes ^ 0x55
    exponent = even >> 4 & 7
    step = (even & 15) << 4
    magnitude = np.where(exponent == 0, step + 8, (step + 0x108) << np.maximum(exponent - 1, 0))
    return np.where(even & 0x80, magnitude, -magnitude)


def _nearest_codes(decoded: NDArray[np.int64]) -> NDArray[np.uint8]:
    order = np.argsort(decoded, kind="stable")
    levels = decoded[order]
    values = np.arange(-32768, 32768)
    above = np.clip(np.searchsorted(levels, values), 1, levels.size - 1)
    below_is_nearer = values - levels[above - 1] <= levels[above] - values
    return order[above - below_is_nearer].astype(np.uint8)


def _import_av(codec: str) -> Any:
    with needed(f"{codec} needs PyAV, which is not installed", "rtp"):
        import av
    return av
