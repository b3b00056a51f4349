"""The settings of a stream, checked once."""

import math
import numbers
import operator
import re
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Literal, TypedDict, get_args

from plc.errors import ConfigError, unknown
from plc_kernels.stream.layout import MAX_SAMPLE_RATE, MIN_SAMPLE_RATE

FILE_MAX_SAMPLE_RATE = 768_000
"""Of recordings that are detected in, inpainted or repaired; a stream has a lower limit."""
FILE_MAX_CHANNELS = 64

MAX_CHANNELS = 8
MIN_PACKET_MS = 1.0
MAX_PACKET_MS = 120.0
"""Opus' longest packet (RFC 6716, section 2.1.4); the shortest is what low-latency links use."""
MAX_LOOKAHEAD_MS = 2_000.0
PACKET_MS = 10.0
"""Packets where nothing is said of them: what most of live audio over IP is sent in."""
_COUNTED = re.compile(r"\s*(\d{1,6})\s*smp\s*", re.ASCII)
OPEN: Any = None
"""Of a packet's length: as the other setting says; where that is open, too, 10 ms."""

PREPARE = ("auto", "always", "never")
"""When concealments are prepared before the loss."""
Method = Literal["auto", "ar", "burg", "server"]
"""Of a stream; burg:ORDER_MS/PAST_MS is one, too, which no type says."""
Content = Literal["auto", "music", "speech"]
CONTENTS = get_args(Content)
"""What a stream plays, as the user says; the first leaves it to what is heard."""
DEFAULT_BUDGET_SHARE = 0.25
"""Share of a packet's duration that its concealment may take."""


class StreamSettings(TypedDict, total=False):
    """Keywords of :class:`StreamConfig`, for functions that run a stream."""

    method: Method
    model: str
    content: Content
    budget_ms: float | None
    seed: int
    provider: str
    prepare: str
    detect_dropouts: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamConfig:
    """Settings of a :class:`~plc.Concealer`.

    Parameters
    ----------
    sample_rate : int, 8000 to 192000 Hz
    channels : int, 1 to 8
    packet_samples : int
        Samples of each channel in a packet: 1 ms of them (or 32) to 120 ms; by default 10 ms.
    packet_ms : float
        The same in ms, rounded to whole samples; give one of the two. Afterwards both are known,
        this one exactly. In ``dataclasses.replace`` leave the other one open: None.
    lookahead : int
        Packets by which the output is delayed so that a gap's end can be heard before it is
        filled; at most 2 s.
    method : str
        One of :data:`~plc.METHODS`, or ``burg:ORDER_MS/PAST_MS``.
    model : str
        Network to use: ``"auto"`` chooses one by content,
        ``"ar"`` is linear prediction alone, any other is a model's name or path.
    content : str
        What plays: ``"music"`` or ``"speech"`` where it is known, so that only what serves that is
        loaded and run; ``"auto"`` hears it from the stream.
    budget_ms : float or None
        Time a concealment may take; None takes a quarter of the packet, ``inf`` sets no limit.
    seed : int, of the comfort noise
    provider : str
        What runs the network: ``"auto"`` is the compiled step for the package's networks and those
        of the same graph, and ONNX Runtime for others; ``"tensorrt"``, ``"cuda"`` or ``"cpu"`` is
        ONNX Runtime on that one.
    prepare : str
        Whether a thread prepares the next concealment after each received packet, where there is a
        time limit and no lookahead: ``"auto"``, where a network of the step conceals, as far as a
        packet's duration and the other streams of the process leave it time; ``"always"``, at the
        top rung; or ``"never"``.
    detect_dropouts : bool
        Whether packets that arrive but hold a dropout count as lost there: silence that cuts
        sound off, a stuck sample, or a block said again.

    Raises
    ------
    ConfigError
        If a setting is out of its range. Whether a method, model or provider is known shows when
        the stream is opened.
    """

    _most_rate: ClassVar[int] = MAX_SAMPLE_RATE
    _most_channels: ClassVar[int] = MAX_CHANNELS

    sample_rate: int = 48_000
    channels: int = 1
    packet_samples: int = OPEN
    packet_ms: float = OPEN
    lookahead: int = 0
    method: str = "auto"
    model: str = "auto"
    content: Content = "auto"
    budget_ms: float | None = None
    seed: int = 0
    provider: str = "auto"
    prepare: str = "auto"
    detect_dropouts: bool = False

    def __post_init__(self) -> None:
        """Check every range."""
        for name in ("method", "model", "content", "provider", "prepare"):
            value = getattr(self, name)
            if not isinstance(value, str):
                raise ConfigError(f"{name} is {value!r}; give a name, such as 'auto'")
        check_content(self.content)
        if self.prepare not in PREPARE:
            raise ConfigError(unknown("prepare", self.prepare, PREPARE))
        if not isinstance(self.detect_dropouts, bool):
            raise ConfigError(f"detect_dropouts is {self.detect_dropouts!r}; give True or False")
        self._check_integer("sample_rate", MIN_SAMPLE_RATE, self._most_rate, "Hz")
        self._check_integer("channels", 1, self._most_channels, "channels")
        given, given_ms = self.packet_samples, self.packet_ms
        if given is None:
            packet_ms = PACKET_MS if given_ms is None else given_ms
            samples = samples_of_packet(packet_ms, self.sample_rate)
            object.__setattr__(self, "packet_samples", samples)
        # A packet of 64 samples at 96 kHz is 0.67 ms: sizes down to 32 samples are in use.
        least = min(32, math.floor(MIN_PACKET_MS * self.sample_rate / 1000))
        most = math.ceil(MAX_PACKET_MS * self.sample_rate / 1000)
        unit = f"samples at {self.sample_rate} Hz"
        self._check_integer("packet_samples", least, most, unit)
        object.__setattr__(self, "packet_ms", 1000.0 * self.packet_samples / self.sample_rate)
        if given is not None and given_ms is not None:
            self._check_equal(given_ms)
        deepest = max(1, int(MAX_LOOKAHEAD_MS / self.packet_ms))
        unit = f"packets of {self.packet_ms:g} ms"
        self._check_integer("lookahead", 0, deepest, unit)
        number = isinstance(self.budget_ms, numbers.Real) and self.budget_ms > 0
        if self.budget_ms is not None and not number:
            raise ConfigError(
                f"budget_ms is {self.budget_ms!r}; give a time above 0 ms, inf for no limit, "
                "or None for a quarter of the packet"
            )
        try:
            object.__setattr__(self, "seed", operator.index(self.seed))
        except TypeError:
            raise ConfigError(f"seed is {self.seed!r}; give an integer") from None

    @property
    def time_limit_ms(self) -> float:
        """Time a concealment may take, in ms; may be ``inf``."""
        if self.budget_ms is None:
            return DEFAULT_BUDGET_SHARE * self.packet_ms
        return self.budget_ms

    @property
    def prepares(self) -> bool:
        """True if a stream of linear prediction and networks prepares its concealments."""
        return self.prepare != "never" and not self.lookahead and self.time_limit_ms < math.inf

    def in_words(self) -> str:
        """Return the format and the method in a line."""
        channels = f"{self.channels} channel{'' if self.channels == 1 else 's'}"
        more = ", ".join(each for each in (self.model, self.content) if each != "auto")
        method = f"{self.method!r} ({more})" if more else repr(self.method)
        limit_ms = self.time_limit_ms
        limit = f"time limit {limit_ms:g} ms" if math.isfinite(limit_ms) else "no time limit"
        return (
            f"{self.sample_rate} Hz, {channels}, packets of {self.packet_samples} samples "
            f"({self.packet_ms:.3g} ms), lookahead {self.lookahead}, method {method}, {limit}"
        )

    def _check_equal(self, given_ms: float) -> None:
        number = isinstance(given_ms, numbers.Real)
        if not number or not abs(given_ms * self.sample_rate / 1000 - self.packet_samples) <= 0.5:
            raise ConfigError(
                f"packet_samples is {self.packet_samples}, {self.packet_ms:g} ms at "
                f"{self.sample_rate} Hz, and packet_ms is {given_ms!r}; give one of them, and None "
                "for the other"
            )

    def _check_integer(self, name: str, least: int, most: int, unit: str) -> None:
        value = getattr(self, name)
        try:
            number = operator.index(value)
        except TypeError:
            number = None
        if number is None or isinstance(value, bool):
            raise ConfigError(f"{name} is {value!r}; give an integer, {least} to {most} {unit}")
        if not least <= number <= most:
            raise ConfigError(f"{name} is {value!r}; supported: {least} to {most} {unit}")
        object.__setattr__(self, name, number)


SETTINGS = tuple(each.name for each in fields(StreamConfig))
"""Names of a stream's settings."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordingConfig(StreamConfig):
    """Settings of repairs of recordings, with wider limits."""

    _most_rate: ClassVar[int] = FILE_MAX_SAMPLE_RATE
    _most_channels: ClassVar[int] = FILE_MAX_CHANNELS


def check_content(content: object) -> None:
    """Raise ConfigError if it is none of :data:`CONTENTS`."""
    if content not in CONTENTS:
        raise ConfigError(unknown("content", content, CONTENTS))


def samples_of_packet(packet_ms: float | str, sample_rate: int) -> int:
    """Return the samples of a packet, at least 1, at a sample rate in Hz.

    ``packet_ms`` is 0.1 to 120 ms, or samples with their unit: ``"352smp"``.

    Raises
    ------
    ConfigError
        If it is no length of a packet.
    """
    counted = _COUNTED.fullmatch(packet_ms) if isinstance(packet_ms, str) else None
    if counted:
        samples, length_ms = int(counted[1]), 1000.0 * int(counted[1]) / sample_rate
    elif isinstance(packet_ms, numbers.Real) and not isinstance(packet_ms, bool):
        length_ms = float(packet_ms)
        samples = max(1, round(sample_rate * length_ms / 1000.0)) if math.isfinite(length_ms) else 0
    else:
        samples, length_ms = 0, math.nan
    if not samples or not 0.1 <= length_ms <= MAX_PACKET_MS:
        raise ConfigError(
            f"packet_ms is {packet_ms!r}; give 0.1 to {MAX_PACKET_MS:g} ms, or samples as in "
            "'352smp'"
        )
    return samples
