"""Contenders: anything that plays a stream with lost packets.

Three kinds, distinguished by name:

* a method of the engine, ``METHOD[@lookaheadK][@model=NAME]``, such as ``ar@lookahead1``; or
  ``METHOD@known=MS``: so much is known behind each hole, at no delay; or ``METHOD@rtp=MS`` and
  ``METHOD@pieces=MS``: through a receiver of RTP or a ``PlayoutBuffer`` at a fixed delay, whose
  packets have a jitter of 5 ms in the mean; or
  ``METHOD@file[@model=NAME]``: as ``plc inpaint`` fills a file, of which both sides are known; or
  ``METHOD@paced[@lookaheadK][@model=NAME][@prepare=WHEN]``: pushed in real time with the default
  budget;
* a program, given with ``--peer name='command {in} {trace} {out}'``: it reads a WAV file and a
  trace and writes its output (see :class:`CommandPeer`);
* a kind that is registered in :data:`KINDS`, for a peer that needs more than a command line.

A *coded* contender (a codec with its own concealment) gets the intact signal, codes it, and loses
the coded packets itself. Its output differs from the signal without a loss, too, so it is also
compared with its own loss-free output.
"""

import math
import re
import shlex
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

import plc
from plc.engine.models.catalogue import find
from plc.engine.stream.config import PREPARE, StreamConfig, check_content
from plc.engine.stream.methods import METHODS, RECORDING_METHODS, rung_of, stream_models
from plc.engine.trace_files import write_trace
from plc.errors import AudioFileError, ConfigError, unknown
from plc.transport.rtp.codecs import L16
from plc.transport.rtp.config import ReceiverConfig
from plc.transport.rtp.delay import MAX_DELAY_MS, DelayConfig, DelayMode
from plc.transport.rtp.packets import RtpPacket, build_rtp
from plc.transport.rtp.playout import Playout
from plc_bench.base.corpus import Samples
from plc_bench.base.pace import turns
from plc_bench.peers import PEERS, make_peer
from plc_bench.peers.base import PEER_TIMEOUT_S, Contender, PeerError, run_program
from plc_bench.scores.metrics import Mask
from plc_kernels.stream.layout import MAX_SAMPLE_RATE, MIN_SAMPLE_RATE

# Where the clips' own rates are not known: what none of these allows, none does.
_RATES = (48_000, MIN_SAMPLE_RATE, MAX_SAMPLE_RATE)
# Of packets that go to a receiver: mean, exponentially distributed.
JITTER_MS = 5.0
_PLACES = ("in", "trace", "out", "sample_rate", "channels", "packet_samples", "packet_ms")


@dataclass(frozen=True, slots=True, kw_only=True)
class FileRepair:
    """A method of :func:`plc.inpaint`: it has the whole stream before playing begins."""

    coded = False
    method: Any
    model: str = "auto"
    content: Any = "auto"

    fill: ClassVar[Callable[..., Any]] = staticmethod(plc.inpaint)

    def play(self, signal: Samples, trace: Mask, packet_samples: int, sample_rate: int) -> Samples:
        """Play the stream."""
        packets = {"packet_samples": packet_samples, "sample_rate": sample_rate}
        return np.asarray(self.fill(signal, trace, **packets, **asdict(self)), np.float32)


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine(FileRepair):
    """A method of :func:`plc.conceal`, with its settings."""

    lookahead: int = 0
    seed: int = 0
    fill: ClassVar[Callable[..., Any]] = staticmethod(plc.conceal)


@dataclass(frozen=True, slots=True, kw_only=True)
class PacedEngine(Engine):
    """A method of ``plc.Concealer``, pushed in real time.

    Attributes
    ----------
    prepare : str, as :class:`plc.Concealer` takes it
    clock, sleep : callable, return and take seconds
    """

    prepare: str = "auto"
    clock: Callable[[], float] = time.perf_counter
    sleep: Callable[[float], object] = time.sleep

    def play(self, signal: Samples, trace: Mask, packet_samples: int, sample_rate: int) -> Samples:
        """Return the samples that a listener hears."""
        concealer = plc.Concealer(
            sample_rate=sample_rate,
            channels=signal.shape[1],
            packet_samples=packet_samples,
            lookahead=self.lookahead,
            method=self.method,
            model=self.model,
            content=self.content,
            seed=self.seed,
            prepare=self.prepare,
        )
        try:
            return self._play(concealer, signal, trace)
        finally:
            concealer.close()

    def _play(self, concealer: plc.Concealer, signal: Samples, trace: Mask) -> Samples:
        samples = concealer.config.packet_samples
        played = np.zeros((len(signal) + concealer.delay, signal.shape[1]), np.float32)
        packet_s = samples / concealer.config.sample_rate
        moments = turns(packet_s, self.clock, self.sleep, first=1)
        for (k, lost), _ in zip(enumerate(trace.tolist()), moments, strict=False):
            at = slice(k * samples, (k + 1) * samples)
            played[at] = concealer.push(None if lost else signal[at])
        played[len(signal) :] = concealer.flush()
        return played[concealer.delay :]


@dataclass(frozen=True, slots=True, kw_only=True)
class KnowingEngine(Engine):
    """A method of ``plc.Concealer`` that knows ``known`` ms behind each hole."""

    known: float

    def play(self, signal: Samples, trace: Mask, packet_samples: int, sample_rate: int) -> Samples:
        """Return the samples that a listener hears."""
        settings = asdict(self) | {"sample_rate": sample_rate, "channels": signal.shape[1]}
        samples = round(settings.pop("known") * sample_rate / 1000.0)
        concealer = plc.Concealer(
            packet_samples=packet_samples, budget_ms=math.inf, prepare="never", **settings
        )
        played = signal.copy()
        comes = stops = len(signal)
        behind: list[list[tuple[int, Samples]]] = [[] for _ in trace]
        for k in reversed(range(len(trace))):
            end = (k + 1) * packet_samples
            if not trace[k]:
                comes, stops = k * packet_samples, stops if comes == end else end
            elif comes < stops and samples:
                behind[k] = [(comes - end, signal[comes : min(comes + samples, stops)])]
        for k, lost in enumerate(trace.tolist()):
            part = slice(k * packet_samples, (k + 1) * packet_samples)
            played[part] = concealer.push(None if lost else signal[part], behind=behind[k])
        return played


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceivingEngine(Engine):
    """A receiver at a fixed delay, whose packets come with :data:`JITTER_MS`.

    Attributes
    ----------
    rtp, pieces : float or None
        ``delay_ms`` of a receiver of RTP (L16), or of a :class:`plc.PlayoutBuffer`, whose pieces
        wait for the next block; one of them. Either plays a packet later.
    """

    rtp: float | None = None
    pieces: float | None = None

    def play(self, signal: Samples, trace: Mask, packet_samples: int, sample_rate: int) -> Samples:
        """Return the samples that a listener hears."""
        packet_ms = 1000.0 * packet_samples / sample_rate
        if self.rtp is not None:
            waits, rest_ms = divmod(self.rtp, packet_ms)
        else:
            assert self.pieces is not None
            waits, rest_ms = float(-(-self.pieces // packet_ms)), 0.0
        waits += 1.0  # what a tick pulls, or finds, is heard a block later
        # A packet of silence leads in, without jitter: the delay counts from its arrival.
        packets = np.pad(signal, ((packet_samples, 0), (0, 0)))
        packets = packets.reshape(-1, packet_samples, signal.shape[1])
        rng = np.random.default_rng([self.seed, *np.packbits(trace).tolist()])
        comes_ms = packet_ms * np.arange(len(packets)) + rng.exponential(JITTER_MS, len(packets))
        comes_ms[0] = 0.0 if self.pieces is None else 1e-6  # in time for the next block, as all
        comes_ms[1:][trace] = math.inf
        order = np.argsort(comes_ms, kind="stable").tolist()
        put, take, close = self._receiver(packet_samples, sample_rate, signal.shape[1])
        played = []
        for tick in range(len(packets) + int(waits)):
            now_ms = rest_ms + tick * packet_ms
            while order and comes_ms[order[0]] <= now_ms:
                place = order.pop(0)
                put(place, packets[place], comes_ms[place] / 1000.0)
            played.append(np.array(take(now_ms / 1000.0)))
        close()
        return np.concatenate(played[int(waits) + 1 :])

    def _receiver(
        self, packet_samples: int, sample_rate: int, channels: int
    ) -> tuple[
        Callable[[int, Samples, float], object], Callable[[float], Samples], Callable[[], object]
    ]:
        """Return how a receiver takes packet k, gives a block, both at a time in s, and ends."""
        engine: dict[str, Any] = {"method": self.method, "model": self.model, "budget_ms": math.inf}
        engine |= {"content": self.content, "seed": self.seed, "prepare": "never"}
        if self.pieces is not None:
            buffer = plc.PlayoutBuffer(
                sample_rate,
                channels,
                packet_ms=1000.0 * packet_samples / sample_rate,
                delay_ms=self.pieces,
                max_delay_ms=0.0,
                **engine,
            )
            return (
                lambda k, packet, _: buffer.put(packet, at=k * packet_samples),
                lambda _: buffer.take(packet_samples)[0],
                buffer.concealer.close,
            )
        codec = L16(sample_rate, channels)
        form = StreamConfig(
            sample_rate=sample_rate, channels=channels, packet_samples=packet_samples, **engine
        )
        delay_ms = 0.0 if self.rtp is None else self.rtp
        delay = DelayConfig(mode=DelayMode.FIXED, delay_ms=delay_ms, max_delay_ms=MAX_DELAY_MS)
        playout = Playout(ReceiverConfig(stream=form, delay=delay), codec)

        def put(k: int, packet: Samples, now_s: float) -> None:
            sent = RtpPacket(
                codec.payload_type, k % 2**16, k * packet_samples, 1, codec.encode(packet)
            )
            playout.put(build_rtp(sent), now_s)

        return put, lambda now_s: playout.tick(now_s).T, playout.close


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandPeer:
    """A program, run once for each clip and trace.

    Attributes
    ----------
    command : str
        Split as a shell would, but run without one. ``{in}`` is a 16-bit WAV file of the stream,
        ``{trace}`` a text file with a 0 (received) or 1 (lost) for each packet, ``{out}`` where
        the audio file is to be written that a listener would hear, with the same rate and
        channels and at least as many samples, its delay taken out (samples past the end are cut
        off). ``{sample_rate}``, ``{channels}``, ``{packet_samples}`` and ``{packet_ms}`` are
        numbers.
    coded : bool
        Whether it codes the audio.
    timeout_s : float
        Time for one clip, after which it and its children are killed.
    """

    command: str
    coded: bool = False
    timeout_s: float = PEER_TIMEOUT_S

    def __post_init__(self) -> None:
        """Check that the command can be filled in."""
        try:
            words = shlex.split(self.command)
        except ValueError as error:
            raise ConfigError(f"peer command {self.command!r}: {error}") from error
        places = set(re.findall(r"\{(\w+)\}", self.command))
        if not words or not {"in", "trace", "out"} <= places <= set(_PLACES):
            raise ConfigError(
                f"peer command {self.command!r}: it needs {{in}}, {{trace}} and {{out}}, and may "
                f"have {' '.join(f'{{{name}}}' for name in _PLACES[3:])}"
            )

    def play(self, signal: Samples, trace: Mask, packet_samples: int, sample_rate: int) -> Samples:
        """Play the stream.

        Raises
        ------
        PeerError
            If the program fails, takes too long, or writes something else than such a signal.
        """
        import soundfile

        with tempfile.TemporaryDirectory(prefix="plc-peer-") as folder:
            source, target = Path(folder, "in.wav"), Path(folder, "out.wav")
            soundfile.write(source, signal, sample_rate, subtype="PCM_16")
            write_trace(Path(folder, "lost.trace"), trace)  # digits alone, for any parser
            values = {
                "in": str(source),
                "trace": str(Path(folder, "lost.trace")),
                "out": str(target),
                "sample_rate": str(sample_rate),
                "channels": str(signal.shape[1]),
                "packet_samples": str(packet_samples),
                "packet_ms": f"{1000 * packet_samples / sample_rate:.10g}",
            }
            run_program(_filled(self.command, values), self.timeout_s)
            return read_played(target, signal.shape, sample_rate)


def _filled(command: str, values: Mapping[str, str]) -> list[str]:
    words = shlex.split(command)
    return [re.sub(r"\{(\w+)\}", lambda place: values[place[1]], word) for word in words]


def read_played(path: Path, shape: tuple[int, ...], sample_rate: int) -> Samples:
    """Read a peer's output, cut to a shape: float32, shape (n, channels).

    Raises
    ------
    PeerError
        If the audio is missing, has another rate or other channels, is too short or not finite.
    """
    from plc_bench.base.corpus import read_clip

    # Without the path, which is another for each clip: what many share is said once.
    if not path.exists():
        raise PeerError("wrote nothing")
    try:
        recording = read_clip(path)
    except AudioFileError as error:
        raise PeerError(f"wrote no audio: {error}".replace(str(path), path.name)) from error
    played = recording.signal
    if recording.sample_rate != sample_rate:
        raise PeerError(f"wrote {recording.sample_rate} Hz; expected {sample_rate} Hz")
    if played.shape[1] != shape[1]:
        raise PeerError(f"wrote {played.shape[1]} channels; expected {shape[1]}")
    if len(played) < shape[0]:
        raise PeerError(f"wrote {len(played)} samples; expected {shape[0]}")
    return played[: shape[0]]


Kind = Callable[[str], Contender]


KINDS: dict[str, Kind] = dict.fromkeys(PEERS, make_peer)
"""Kinds of contenders beside the engine's methods, by the name before ``:`` or ``@``; each makes
one from its whole name. Add yours here; those of :mod:`plc_bench.peers` are."""


def contender(
    name: str, peers: Mapping[str, CommandPeer] | None = None, *, seed: int = 0
) -> Contender:
    """Return the contender of a name.

    Raises
    ------
    ConfigError
        If the name has a part that is not understood. Whether the engine knows the method says
        :func:`check_methods`.
    """
    if peers and name in peers:
        return peers[name]
    head, *parts = name.split("@")
    kind = KINDS.get(head.partition(":")[0])
    if kind is not None and "file" not in parts:
        return kind(name)
    settings: dict[str, Any] = {"method": head}
    for part in parts:
        word, equals, value = part.partition("=")
        if word in ("model", "content", "prepare") and equals:
            settings[word] = value
        elif count := re.fullmatch(r"lookahead(\d+)", part):
            settings["lookahead"] = int(count[1])
        elif delay := re.fullmatch(r"(known|rtp|pieces)=(\d{1,4})", part):
            settings[delay[1]] = float(delay[2])
        elif part not in ("paced", "file"):
            raise ConfigError(
                f"method {name!r}: {'@' + part} is not understood; methods are written "
                "METHOD[@lookaheadK|@known=MS|@rtp=MS|@pieces=MS][@model=NAME][@content=NAME] or "
                "METHOD@file[@model=NAME][@content=NAME]"
            )
    if "prepare" in settings and ("paced" not in parts or settings["prepare"] not in PREPARE):
        raise ConfigError(f"method {name!r}: give METHOD@paced@prepare={'|'.join(PREPARE)}")
    ways = [
        each
        for each in ("file", "paced", "lookahead", "known", "rtp", "pieces")
        if each in parts or each in settings
    ]
    if len(ways) > 1 and ways != ["paced", "lookahead"]:
        raise ConfigError(f"method {name!r}: @{ways[0]} and @{ways[1]} exclude each other")
    if "file" in parts:
        return FileRepair(**settings)
    kinds: dict[str, type[Engine]] = {"rtp": ReceivingEngine, "pieces": ReceivingEngine}
    kinds |= {"known": KnowingEngine, "paced": PacedEngine}
    return next((kinds[way] for way in ways if way in kinds), Engine)(**settings, seed=seed)


def check_methods(
    names: Sequence[str],
    peers: Mapping[str, CommandPeer] | None = None,
    sample_rate: int | None = None,
) -> None:
    """Check methods before anything is played.

    What a method needs from the system is not looked for: it may be there for a later run.

    Parameters
    ----------
    sample_rate : int, optional
        In Hz; without one, a method must work at some rate.

    Raises
    ------
    ConfigError
        If a method or a peer's option is unknown, or a model is not for streams.
    ModelError
        If there is no such model.
    """
    rates = [sample_rate] if sample_rate else _RATES
    for name in names:
        made = contender(name, peers)
        if isinstance(made, Engine):
            _check_predictor(made.method, rates, METHODS)
            check_content(made.content)
            if made.model != "auto":
                stream_models(made.model, sample_rate or _RATES[0])
        elif isinstance(made, FileRepair):
            _check_predictor(made.method, rates, RECORDING_METHODS)
            check_content(made.content)
            if made.model not in ("auto", "ar"):
                find(made.model)


def _check_predictor(method: str, rates: Sequence[int], known: Iterable[str]) -> None:
    if method in known:
        return
    if method.partition(":")[0] not in ("burg", *RECORDING_METHODS):
        more = ", burg:ORDER_MS/PAST_MS, and the names of --peer"
        raise ConfigError(unknown("method", method, (*known, *KINDS), more))
    errors = []
    for rate in rates:
        try:
            rung_of(method, rate, known)
            return
        except ConfigError as error:
            errors.append(error)
    raise errors[0]


def parse_peer(text: str, coded: Sequence[str] = ()) -> tuple[str, CommandPeer]:
    """Return the name and the program in ``name=command``.

    Raises
    ------
    ConfigError
        If it is not of that form.
    """
    name, equals, command = text.partition("=")
    name = name.strip()
    if not equals or not re.fullmatch(r"[\w.+-]+", name):
        raise ConfigError(
            f"peer {text!r}: expected name='command {{in}} {{trace}} {{out}}', the name of "
            "letters, digits and . _ + -"
        )
    if name in METHODS or name in KINDS:
        raise ConfigError(f"peer {name!r}: there is a method of that name; take another")
    return name, CommandPeer(command=command, coded=name in coded)
