"""Conceal, inpaint or lose packets of a recording, from file to file.

Each function reads its source block by block, writes its target as it goes, and holds no more than
a few packets, or the context around one group of gaps: an hour of audio takes the memory of a
second. The target has exactly the length of the source; delays are taken out.
"""

import math
import time
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from operator import attrgetter
from pathlib import Path
from typing import Any, Unpack

import numpy as np
from numpy.typing import NDArray

from plc import notice
from plc.audio.files import AudioReader, AudioWriter, check_target, count_samples
from plc.audio.loss import LossSource, TraceLosses, gaps_of, packet_samples_of_trace, write_trace
from plc.audio.whole import check_new, remove_leftovers
from plc.engine.concealer import Concealer
from plc.engine.config import PACKET_MS, StreamSettings, samples_of_packet
from plc.errors import AudioFileError, TraceError
from plc.repair.arrays import HEARD_S, context_s, fill_gaps
from plc.repair.edges import intact_part
from plc.repair.gaps import Gap, find_unsound, gaps_in_samples, merge_gaps
from plc.repair.interpolate import refinable, refines
from plc.repair.joint import grouped

# Packets read and written at once.
_BLOCK_PACKETS = 64

Progress = Callable[[int, int | None], None]
"""Called with the samples done, and the expected samples (None if unknown)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConcealReport:
    """Result of :func:`conceal_file`."""

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
    """What was lost, in samples; not part of :meth:`as_dict`."""

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

    def as_dict(self) -> dict[str, Any]:
        """Return everything by name, for JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class InpaintReport:
    """Result of :func:`inpaint_file`.

    Attributes
    ----------
    samples, sample_rate, channels : int
        Of the recording.
    gaps : tuple of (int, int)
        In samples, merged and in order, as they were filled.
    damaged_samples : int
        Received samples beside the gaps that were damaged and counted as lost: they lie in
        ``gaps``.
    refined_gaps : int or None
        Number of them that were interpolated. The others are longer than
        :data:`~plc.repair.interpolate.LONGEST_REFINED_GAP`, or next to nothing is known on one
        side, and got the blend. None where the quality or the method interpolates none.
    elapsed_s : float
        Reading and writing included.
    clipped_samples : int
        Of the target.
    """

    samples: int
    sample_rate: int
    channels: int
    gaps: tuple[tuple[int, int], ...]
    damaged_samples: int
    refined_gaps: int | None
    elapsed_s: float
    clipped_samples: int

    def as_dict(self) -> dict[str, Any]:
        """Return everything by name, for JSON."""
        return asdict(self)


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
    losses : LossSource
        Which packets are lost.
    packet_ms : float or str
        Length of a packet, rounded to whole samples; or samples, as ``"352smp"``.
    lookahead : int
        Packets the concealer waits for; the delay is taken out of the target.
    overwrite : bool
        Whether a file that is there may be replaced.
    bitrate : int, optional
        In bit/s, for a target whose coding has one.
    progress : callable, optional
        Called after each block.
    method, model, budget_ms, seed, provider
        As for :class:`plc.StreamConfig`; by default there is no limit of time, so that the result
        does not depend on the machine.

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
        packets = samples = 0
        start_s = time.perf_counter()
        with _writer_like(reader, target, overwrite, bitrate) as writer:
            played = _Undelayed(concealer.delay, writer)
            for block in reader.stream(_BLOCK_PACKETS * packet_samples):
                blocked = in_packets(block, packet_samples)
                lost = losses.take(len(blocked))
                played.write(_conceal_block(concealer, blocked, lost), samples + len(block))
                packets, samples = packets + len(blocked), samples + len(block)
                taken.append(lost)
                _report(progress, samples, reader)
            played.write(np.asarray(concealer.flush(), np.float32), samples)
        whole = np.concatenate(taken)
        return ConcealReport(
            samples=samples,
            sample_rate=reader.sample_rate,
            channels=reader.channels,
            packet_samples=packet_samples,
            packets=packets,
            lost_packets=int(np.count_nonzero(whole)),
            elapsed_s=time.perf_counter() - start_s,
            clipped_samples=writer.clipped_samples,
            stats=concealer.stats.as_dict(),
            gaps=tuple((a, min(b, samples)) for a, b in gaps_of(whole, packet_samples)),
        )


def lose_file(
    source: str | Path,
    target: str | Path,
    losses: LossSource,
    *,
    packet_ms: float | str = PACKET_MS,
    trace: str | Path | None = None,
    overwrite: bool = True,
    progress: Progress | None = None,
) -> LoseReport:
    """Replace lost packets by silence, and write their trace.

    Parameters
    ----------
    source, target : str or Path
        Audio files.
    losses : LossSource
        Which packets are lost.
    packet_ms : float or str
        Length of a packet, rounded to whole samples; or samples, as ``"352smp"``.
    trace : str or Path, optional
        Where the trace shall stand; by default beside the target, its suffix ``.trace``.
    overwrite : bool
        Whether a file that is there may be replaced.
    progress : callable, optional
        Called after each block.

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
    trace_path = target.with_suffix(".trace") if trace is None else Path(trace)
    _check_trace_target(trace_path, losses, source)
    check_new(trace_path, overwrite)
    with AudioReader(source) as reader:
        packet_samples = samples_of_packet(packet_ms, reader.sample_rate)
        _check_trace(losses, source, reader, packet_samples)
        samples, taken = 0, []
        with _writer_like(reader, target, overwrite) as writer:
            for block in reader.stream(_BLOCK_PACKETS * packet_samples):
                blocked = in_packets(block, packet_samples)
                lost = losses.take(len(blocked))
                blocked[lost] = 0.0
                writer.write(blocked.reshape(-1, reader.channels)[: len(block)])
                samples += len(block)
                taken.append(lost)
                _report(progress, samples, reader)
            whole = np.concatenate(taken)
            # Before the target gets its name: a lossy recording is of no use without its trace.
            write_trace(trace_path, whole, [f"packets of {packet_samples} samples, 1 = lost"])
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


def inpaint_file(
    source: str | Path,
    target: str | Path,
    gaps_s: Iterable[tuple[float, float]],
    *,
    quality: str = "good",
    method: str = "auto",
    model: str = "auto",
    seed: int = 0,
    overwrite: bool = True,
    bitrate: int | None = None,
    progress: Progress | None = None,
) -> InpaintReport:
    """Fill gaps of a recording from what stands before and after them.

    Parameters
    ----------
    source, target : str or Path
        Audio files; what the source holds in a gap is not looked at.
    gaps_s : iterable of (float, float)
        Start and end of each gap in seconds, in any order; those that overlap or touch are one.
    quality : str
        ``"fast"``, ``"good"`` or ``"best"``, as of :func:`plc.inpaint`; of gaps longer than
        :data:`~plc.repair.interpolate.LONGEST_REFINED_GAP` each makes the same.
    method : str
        As of :func:`plc.inpaint`.
    model, seed
        As of :func:`plc.inpaint`.
    overwrite : bool
        Whether a file that is there may be replaced.
    bitrate : int, optional
        In bit/s, for a target whose coding has one.
    progress : callable, optional
        Called after each block.

    Returns
    -------
    InpaintReport
        The gaps as they were filled.
    """
    source, target = Path(source), Path(target)
    check_target(target, source, overwrite)
    with AudioReader(source) as reader:
        samples = reader.samples if reader.samples is not None else count_samples(source)
        gaps = gaps_in_samples(gaps_s, reader.sample_rate, samples)
        start_s = time.perf_counter()
        with _writer_like(reader, target, overwrite, bitrate) as writer:
            window = _Window(reader, writer, progress)
            context = math.ceil(context_s(quality, method, model) * reader.sample_rate)
            listen = math.ceil(HEARD_S * reader.sample_rate)
            made: deque[tuple[int, int]] = deque()
            filled: list[Gap] = []
            done = 0
            for group in grouped(gaps, reader.sample_rate, quality, method):
                done += len(group)
                gap = Gap(group[0].start, *group[-1][1:])
                first = max(0, gap.start - context)
                while made and made[0][1] <= first:
                    made.popleft()
                behind = max(min(context, gap.after), min(context, listen))
                signal = window.move_to(first, min(gap.stop + behind, samples))
                hole = (gap.start - first, gap.stop - first)
                last = first + len(signal)
                more = gaps[done : bisect_left(gaps, last, key=attrgetter("start"))]
                later = [(gap.start - first, min(gap.stop, last) - first) for gap in more]
                holes = [(start - first, stop - first) for start, stop, _ in group]
                unsound = find_unsound(signal, [*holes, *later])
                if unsound is not None:
                    place_s = (first + unsound) / reader.sample_rate
                    raise AudioFileError(
                        f"{source} holds NaN or infinity at {place_s:.6f} s; give that place as a "
                        "gap too"
                    )
                earlier = [(max(0, begun - first), ended - first) for begun, ended in made]
                known = signal[: min(gap.end - first, len(signal))]
                wide = _widened(known, hole, earlier, bool(later), reader.sample_rate)
                if later:
                    later[0] = (wide.end, later[0][1])
                holes[0] = (wide.start, holes[0][1])
                holes[-1] = (holes[-1][0], wide.stop)
                signal[:] = fill_gaps(
                    signal,
                    reader.sample_rate,
                    holes,
                    earlier,
                    later,
                    quality,
                    method,
                    model,
                    seed,
                )
                wide_gaps = merge_gaps(holes, wide.end)
                filled += [Gap(*(first + place for place in each)) for each in wide_gaps]
                made += [(first + start, first + stop) for start, stop in holes]
            window.finish()
        return InpaintReport(
            samples=samples,
            sample_rate=reader.sample_rate,
            channels=reader.channels,
            gaps=tuple(gap.span for gap in filled),
            damaged_samples=sum(gap.samples for gap in filled) - sum(gap.samples for gap in gaps),
            refined_gaps=_count_refined(filled, reader.sample_rate, quality, method),
            elapsed_s=time.perf_counter() - start_s,
            clipped_samples=writer.clipped_samples,
        )


def _widened(
    signal: NDArray[np.float32],
    hole: tuple[int, int],
    earlier: Sequence[tuple[int, int]],
    more: bool,
    sample_rate: int,
) -> Gap:
    """Return a gap with the damaged samples beside it.

    Its end is that of what is intact behind it.

    Parameters
    ----------
    signal : float32, shape (n, channels)
        Up to the next gap, or as much of it as is looked at.
    hole : (int, int)
        The gap.
    earlier : sequence of (int, int)
        Those before it.
    more : bool
        Whether there is a next gap.
    sample_rate : int
        In Hz.
    """
    begin = earlier[-1][1] if earlier else 0
    _, start = intact_part(signal, begin, hole[0], sample_rate, (False, True))
    return Gap(start, *intact_part(signal, hole[1], len(signal), sample_rate, (True, more)))


def lost_gaps(
    source: str | Path, losses: TraceLosses, packet_ms: float | str
) -> list[tuple[float, float]]:
    """Return the gaps of a trace in a recording, in seconds.

    Parameters
    ----------
    source : str or Path
        The recording.
    losses : TraceLosses
        Which of its packets are lost.
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


def _count_refined(gaps: list[Gap], sample_rate: int, quality: str, method: str) -> int | None:
    """Count the gaps that are interpolated; None if the settings interpolate none."""
    if not refines(quality, method):
        return None
    groups = grouped(gaps, sample_rate, quality, method)
    return sum(len(each) for each in groups if len(each) > 1 or refinable(each[0], each[0].start))


class _Window:
    """The stretch of a recording that is in memory; what lies before it has been written."""

    def __init__(self, reader: AudioReader, writer: AudioWriter, progress: Progress | None) -> None:
        self.reader, self.writer, self.progress = reader, writer, progress
        self.blocks = reader.stream(reader.sample_rate)
        self.start = 0
        self.held = np.empty((0, reader.channels), np.float32)

    def move_to(self, start: int, stop: int) -> NDArray[np.float32]:
        """Return samples ``start`` to ``stop`` to be changed in place; write those before."""
        while True:
            self._write(max(0, start - self.start))
            if self.start + len(self.held) >= stop:
                return self.held[start - self.start : stop - self.start]
            self.held = np.concatenate([self.held, next(self.blocks)])

    def finish(self) -> None:
        """Write the rest."""
        self._write(len(self.held))
        for block in self.blocks:
            self.held = block
            self._write(len(block))

    def _write(self, samples: int) -> None:
        done = self.held[:samples]
        self.writer.write(done)
        self.held = self.held[samples:]
        self.start += len(done)
        _report(self.progress, self.start, self.reader)


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
    """Push packets, shape (packets, packet_samples, channels); return samples in a row."""
    played = np.empty_like(packets)
    for i, packet in enumerate(packets):
        played[i] = concealer.push(None if lost[i] else packet)
    return played.reshape(-1, packets.shape[2])


def in_packets(block: NDArray[np.float32], packet_samples: int) -> NDArray[np.float32]:
    """Return ``block`` as shape (packets, packet_samples, channels), the last padded with zeros."""
    missing = -len(block) % packet_samples
    padded = np.pad(block, ((0, missing), (0, 0))) if missing else block
    return padded.reshape(-1, packet_samples, block.shape[1])


def _check_trace(
    losses: LossSource, source: Path, reader: AudioReader, packet_samples: int
) -> None:
    """Refuse a trace of other packets or too few."""
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
    """Refuse to write the trace over one of its sources."""
    given = losses.path if isinstance(losses, TraceLosses) else None
    inputs = {"the trace that says what to lose": given, "the source itself": source}
    for what, path in inputs.items():
        if path is not None and trace.exists() and Path(path).exists() and trace.samefile(path):
            raise TraceError(
                f"{trace}, where the trace would be written, is {what}; choose another name for "
                "the target, or move that file"
            )


def _writer_like(
    reader: AudioReader, target: Path, overwrite: bool, bitrate: int | None = None
) -> AudioWriter:
    """Return a writer of a recording's coding and tags; what killed ones left of it goes."""
    remove_leftovers(target)
    writer = AudioWriter(
        target,
        reader.sample_rate,
        reader.channels,
        reader.subtype,
        reader.expected_samples,
        reader.tags(),
        bitrate,
        reader,
        overwrite,
    )
    if reader.bitrate and writer.lossy:
        notice.tell_once(
            f"{reader.path} is in a lossy coding ({reader.bitrate / 1000:.0f} kbit/s): all "
            f"of {target} is coded anew; .flac or .wav keeps what was decoded as it is"
        )
    return writer


def _report(progress: Progress | None, samples: int, reader: AudioReader) -> None:
    if progress is not None:
        progress(samples, reader.expected_samples)
