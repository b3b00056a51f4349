"""Conceal or lose packets of a recording as a stream would, from file to file.

Each function reads its source block by block and writes its target as it goes: in memory are 64
packets and the losses. The target has exactly the length of the source; delays are taken out.
"""

import math
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Unpack

import numpy as np
from numpy.typing import NDArray

from plc.engine.loss import LossSource, TraceLosses
from plc.engine.spans import gaps_of
from plc.engine.stream.concealer import Concealer
from plc.engine.stream.config import MAX_CHANNELS, PACKET_MS, StreamSettings, samples_of_packet
from plc.engine.trace_files import packet_samples_of_trace, write_trace
from plc.errors import ConfigError, TraceError
from plc.files.audio import AudioReader, Progress, count_samples, report
from plc.files.fill.gaps import Hole
from plc.files.writing import AudioWriter, check_target, writer_like
from plc.notice import counted
from plc.whole_files import check_new
from plc_kernels.stream.layout import MAX_SAMPLE_RATE

if TYPE_CHECKING:
    from plc.files.fill.copied import LongGap

# Packets read and written at once.
_BLOCK_PACKETS = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class ConcealReport:
    """Result of :func:`conceal_file`."""

    verb: ClassVar[str] = "concealed"
    samples: int
    sample_rate: int
    channels: int
    packet_samples: int
    packets: int
    lost_packets: int
    elapsed_s: float
    clipped_samples: int
    stats: Mapping[str, Any]
    gaps: tuple[tuple[int, int], ...]
    """What was made up, in samples; not part of :meth:`as_dict`."""

    @property
    def holes(self) -> tuple[Hole, ...]:
        """The same: of all channels."""
        return tuple(Hole(*gap) for gap in self.gaps)

    @property
    def long_gaps(self) -> "tuple[LongGap, ...]":
        """Gaps filled with copies of other passages: none."""
        return ()

    @property
    def duration_s(self) -> float:
        """Length of the recording."""
        return self.samples / self.sample_rate

    @property
    def real_time_factor(self) -> float:
        """Seconds of audio per second of work, reading and writing included."""
        return self.duration_s / self.elapsed_s

    def as_dict(self) -> dict[str, Any]:
        """Return everything by name, for JSON."""
        derived = {"duration_s": self.duration_s, "real_time_factor": self.real_time_factor}
        told = {name: value for name, value in asdict(self).items() if name != "gaps"}
        return {**told, **derived}


@dataclass(frozen=True, slots=True, kw_only=True)
class LoseReport:
    """Result of :func:`lose_file`."""

    samples: int
    sample_rate: int
    channels: int
    packet_samples: int
    packets: int
    lost_packets: int
    bursts: int
    clipped_samples: int
    trace: str


def conceal_file(
    source: str | Path,
    target: str | Path,
    losses: LossSource,
    *,
    packet_ms: float | str = PACKET_MS,
    lookahead: int = 0,
    overwrite: bool = True,
    bitrate: int | None = None,
    progress: Progress | None = None,
    **settings: Unpack[StreamSettings],
) -> ConcealReport:
    """Conceal the lost packets of a recording.

    Parameters
    ----------
    source, target : str or Path
        Audio files; what the source holds in lost packets is not looked at.
    losses : LossSource, which packets are lost
    packet_ms : float or str
        Length of a packet, rounded to whole samples; or samples, as ``"352smp"``.
    lookahead : int
        Packets the concealer waits for; the delay is taken out of the target.
    overwrite : bool
        Whether a file that is there may be replaced.
    bitrate : int, optional
        In bit/s, for a target whose coding has one.
    progress : callable, optional, called after each block
    method, model, content, budget_ms, seed, provider, prepare, detect_dropouts
        As for :class:`plc.StreamConfig`, but that ``budget_ms`` is by default ``inf``, so that the
        result does not depend on the machine, and ``prepare`` ``"never"``.

    Returns
    -------
    ConcealReport
        Counts, time and the concealer's own statistics.
    """
    source, target = Path(source), Path(target)
    settings.setdefault("budget_ms", math.inf)
    settings.setdefault("prepare", "never")  # packets come as fast as they are taken
    check_target(target, source, overwrite)
    with AudioReader(source) as reader:
        if reader.sample_rate > MAX_SAMPLE_RATE or reader.channels > MAX_CHANNELS:
            raise ConfigError(
                f"{reader.sample_rate} Hz and {counted(reader.channels, 'channel')} are more than "
                f"a stream has ({MAX_SAMPLE_RATE}, {MAX_CHANNELS}); use plc inpaint --trace"
            )
        packet_samples = samples_of_packet(packet_ms, reader.sample_rate)
        _check_trace(losses, source, reader, packet_samples)
        concealer = Concealer(
            sample_rate=reader.sample_rate,
            channels=reader.channels,
            packet_samples=packet_samples,
            lookahead=lookahead,
            **settings,
        )
        taken: list[NDArray[np.bool_]] = []
        packets = samples = lost_packets = 0
        start_s = time.perf_counter()
        with writer_like(reader, target, overwrite, bitrate) as writer:
            played = _Undelayed(concealer.delay, writer)
            for block in reader.stream(_BLOCK_PACKETS * packet_samples):
                blocked = in_packets(block, packet_samples)
                lost = losses.take(len(blocked))
                lost_packets += int(np.count_nonzero(lost))
                played.write(_conceal_block(concealer, blocked, lost), samples + len(block))
                packets, samples = packets + len(blocked), samples + len(block)
                taken.append(lost)
                report(progress, samples, reader)
            played.write(np.asarray(concealer.flush(), np.float32), samples)
        made_up = np.concatenate(taken)
        return ConcealReport(
            samples=samples,
            sample_rate=reader.sample_rate,
            channels=reader.channels,
            packet_samples=packet_samples,
            packets=packets,
            lost_packets=lost_packets,
            elapsed_s=time.perf_counter() - start_s,
            clipped_samples=writer.clipped_samples,
            stats=concealer.stats.as_dict(),
            gaps=tuple((a, min(b, samples)) for a, b in gaps_of(made_up, packet_samples)),
        )


def lose_file(
    source: str | Path,
    target: str | Path,
    losses: LossSource,
    *,
    packet_ms: float | str = PACKET_MS,
    overwrite: bool = True,
    progress: Progress | None = None,
) -> LoseReport:
    """Replace lost packets by silence, and write their trace beside the target.

    What of the source could not be decoded, or is no number, is lost with its packets.

    Parameters
    ----------
    source, target : str or Path, audio files
    losses : LossSource, which packets are lost
    packet_ms : float or str
        Length of a packet, rounded to whole samples; or samples, as ``"352smp"``.
    overwrite : bool
        Whether a file that is there may be replaced.
    progress : callable, optional, called after each block

    Returns
    -------
    LoseReport
        Counts, and where the trace stands.

    Raises
    ------
    TraceError
        If the trace would be written over the source, or over the one that the losses come from.
    """
    source, target = Path(source), Path(target)
    check_target(target, source, overwrite)
    trace_path = target.with_suffix(".trace")
    _check_trace_target(trace_path, losses, source)
    check_new(trace_path, overwrite)
    with AudioReader(source) as reader:
        packet_samples = samples_of_packet(packet_ms, reader.sample_rate)
        _check_trace(losses, source, reader, packet_samples)
        samples, taken = 0, []
        with writer_like(reader, target, overwrite) as writer:
            for block in reader.stream(_BLOCK_PACKETS * packet_samples):
                blocked = in_packets(block, packet_samples)
                lost = losses.take(len(blocked)) | ~np.isfinite(blocked).all(axis=(1, 2))
                blocked[lost] = 0.0
                writer.write(blocked.reshape(-1, reader.channels)[: len(block)])
                samples += len(block)
                taken.append(lost)
                report(progress, samples, reader)
            whole = np.concatenate(taken)
            # Before the target gets its name: a lossy recording is of no use without its trace.
            about = f"packets of {packet_samples} samples, 1 = lost"
            write_trace(trace_path, whole, [about], overwrite)
        onsets = np.count_nonzero(whole[1:] & ~whole[:-1]) + whole[0]
        return LoseReport(
            samples=samples,
            sample_rate=reader.sample_rate,
            channels=reader.channels,
            packet_samples=packet_samples,
            packets=whole.size,
            lost_packets=int(np.count_nonzero(whole)),
            bursts=int(onsets),
            clipped_samples=writer.clipped_samples,
            trace=str(trace_path),
        )


def lost_gaps(
    source: str | Path, losses: TraceLosses, packet_ms: float | str
) -> list[tuple[float, float]]:
    """Return the gaps of a trace in a recording, in seconds.

    Parameters
    ----------
    source : str or Path, the recording
    losses : TraceLosses, which of its packets are lost
    packet_ms : float or str
        Length of a packet in ms, rounded to whole samples; or samples, as ``"352smp"``.

    Raises
    ------
    TraceError
        If the trace is of other packets or of fewer than the recording has, or none is lost.
    """
    source = Path(source)
    with AudioReader(source) as reader:
        packet_samples = samples_of_packet(packet_ms, reader.sample_rate)
        _check_trace(losses, source, reader, packet_samples)
        samples = reader.samples if reader.samples is not None else count_samples(source)
        lost = losses.take(-(-samples // packet_samples))
        if not lost.any():
            raise TraceError(
                f"no packet of {source} is lost by the trace: there is nothing to fill"
            )
        rate = reader.sample_rate
        return [
            (start / rate, min(stop, samples) / rate)
            for start, stop in gaps_of(lost, packet_samples)
        ]


class _Undelayed:
    """Write a concealer's output without delay, up to the recording's end."""

    def __init__(self, delay: int, writer: AudioWriter) -> None:
        self.to_skip, self.writer, self.written = delay, writer, 0

    def write(self, played: NDArray[np.float32], samples: int) -> None:
        """Append ``played``; ``samples`` is how long the recording is as far as known."""
        heard = played[self.to_skip :][: samples - self.written]
        self.to_skip -= min(self.to_skip, len(played))
        self.writer.write(heard)
        self.written += len(heard)


def _conceal_block(
    concealer: Concealer, packets: NDArray[np.float32], lost: NDArray[np.bool_]
) -> NDArray[np.float32]:
    """Push packets, shape (n, packet_samples, channels), mark refused ones; return the samples."""
    played = np.empty_like(packets)
    for i, packet in enumerate(packets):
        played[i] = concealer.push(None if lost[i] else packet)
        lost[i] = bool(concealer.lacking[-1])
    return played.reshape(-1, packets.shape[2])


def in_packets(block: NDArray[np.float32], packet_samples: int) -> NDArray[np.float32]:
    """Return ``block`` as shape (packets, packet_samples, channels), the last padded with zeros."""
    missing = -len(block) % packet_samples
    padded = np.pad(block, ((0, missing), (0, 0))) if missing else block
    return padded.reshape(-1, packet_samples, block.shape[1])


def _check_trace(
    losses: LossSource, source: Path, reader: AudioReader, packet_samples: int
) -> None:
    if not isinstance(losses, TraceLosses):
        return
    stated = packet_samples_of_trace(losses.path) if losses.path else None
    if stated and stated != packet_samples:
        raise TraceError(
            f"the trace {losses.path} is of packets of {stated} samples, not {packet_samples}; "
            f"give --packet-ms {1000 * stated / reader.sample_rate:g}, or remove the comment that "
            "says so"
        )
    if losses.loop:
        return
    samples = reader.samples if reader.samples is not None else count_samples(source)
    packets = -(-samples // packet_samples)
    given = losses.trace.size - losses.position
    if given < packets:
        raise TraceError(
            f"the trace has {given} packets, {source} has {packets} of {packet_samples} samples "
            f"({samples / reader.sample_rate:.3f} s); give a longer trace, another packet length "
            "(--packet-ms), or repeat the trace (--loop)"
        )


def _check_trace_target(trace: Path, losses: LossSource, source: Path) -> None:
    given = losses.path if isinstance(losses, TraceLosses) else None
    inputs = {"the trace that says what to lose": given, "the source itself": source}
    for what, path in inputs.items():
        if path is not None and trace.exists() and Path(path).exists() and trace.samefile(path):
            raise TraceError(
                f"{trace}, where the trace would be written, is {what}; choose another name for "
                "the target, or move that file"
            )
