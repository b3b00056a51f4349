"""Number of streams that one machine conceals: ``plc bench streams throughput``.

**Streams a core.** Many streams take turns in one thread of a process that is bound to one CPU: at
each *tick* all of them push their packet. Ticks are run back to back, and from their durations
follows when each would have been done had they begun every ``packet_ms`` (Lindley's recursion
[1]_): a tick that takes long delays the next. The most streams for which all but one tick in a
thousand (in a hundred below 1000 ticks) would have been done before the next one's turn are those
that run in real time. A live server wants some of it left over.

**Clocks.** A tick is timed by processor time, where the system counts it finely, and so is the
engine's own budget but for methods with a network, whose deadlines are the wall's. Else a machine
that is busy with other things would make the engine step down, and its streams look cheap.

**Cost** is processor time, with that of the networks' threads: in microseconds a packet, and as
the share of one core that a stream takes.

**Memory** is the growth of resident memory for each stream after the first, which brings the shared
part.

References
----------
.. [1] D. V. Lindley, "The theory of queues with a single server", Proc. Cambridge Philosophical
   Society 48, 1952.
"""

import dataclasses
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

import plc
from plc.engine.loss import GilbertElliott
from plc.errors import ConfigError
from plc_bench.base.surroundings import pin, resident_mb, usable_cpus
from plc_bench.base.synth import music
from plc_bench.timing.measure import cut, watched
from plc_bench.timing.stream import TimedStream
from plc_bench.timing.stream import clock as processor_clock

_PIECE_S = 5.0
# Of ticks that may be done after the next one's turn; below 1000 ticks the larger.
_LATE_SHARE, _LATE_SHARE_OF_FEW = 0.001, 0.01
_MANY_TICKS = 1000
# The search for the most streams ends when it knows them to this.
_PRECISION = 0.03
_STRIDE = 1.3
# Streams stand at places of the piece that are so many packets apart.
_APART = 37
_WARM_UP_S = 0.5
# A single stream is cheap, and long bursts take long to come in their number.
_ALONE_LONGER = 10.0

# Values over which cost is measured, each alone.
GROWTH_LOSS = (0.0, 0.01, 0.03, 0.1, 0.2, 0.3)
GROWTH_BURST = (1.0, 2.0, 5.0, 10.0, 20.0)
GROWTH_CHANNELS = (1, 2, 4, 8)
GROWTH_STREAMS = (1, 4, 16, 64)


class Crowd:
    """Streams that take turns.

    Parameters
    ----------
    settings : TimedStream, of each
    clock : callable
        Returns seconds; processor time by default.
    """

    def __init__(self, settings: TimedStream, clock: Callable[[], float] | None = None) -> None:
        self.settings = settings
        self._clock = clock or processor_clock("process_time")
        self._packets = cut(
            music(settings.sample_rate, _PIECE_S, settings.channels), settings.packet_samples
        )
        self._streams: list[plc.Concealer] = []
        self._lost: list[list[bool]] = []

    def grow(self, streams: int) -> None:
        """Open streams up to this number."""
        model = GilbertElliott(self.settings.loss, self.settings.mean_burst)
        while len(self._streams) < streams:
            self._lost.append(model.trace(self.settings.packets, len(self._lost)).tolist())
            self._streams.append(self.settings.open())

    def drive(self, streams: int, ticks: int | None = None) -> tuple[NDArray[np.float64], float]:
        """Drive the first streams; return each tick's ms and the wall s."""
        self.grow(streams)
        ticks = min(ticks or self.settings.packets, self.settings.packets)
        packets, clock = self._packets, self._clock
        pushes = [stream.push for stream in self._streams[:streams]]
        took_s = np.zeros(ticks)
        wall_s = time.perf_counter()
        for t in range(ticks):
            begun_s = clock()
            for s, push in enumerate(pushes):
                push(None if self._lost[s][t] else packets[(t + _APART * s) % len(packets)])
            took_s[t] = clock() - begun_s
        return 1e3 * took_s, time.perf_counter() - wall_s

    @property
    def lost_share(self) -> float:
        """Of the packets of all streams, 0 to 1."""
        return float(np.mean(self._lost))

    @property
    def rungs(self) -> dict[str, int]:
        """Concealed samples of all streams by rung."""
        counts: Counter[str] = Counter()
        for stream in self._streams:
            counts.update(stream.stats.rung_samples)
        return {rung: count for rung, count in counts.items() if count}

    def close(self) -> None:
        """End the streams."""
        for stream in self._streams:
            stream.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Cost of streams together.

    Attributes
    ----------
    varied : str
        Name of the changed setting.
    settings : TimedStream, of each stream
    streams : int, how many
    lost_share : float
        Of the packets, as drawn, 0 to 1.
    packet_us : float
        Processor time for a packet of all channels, in microseconds.
    core_percent : float
        Processor time over audio time of a stream: its share of a core.
    real_time_factor : float
        Audio time of all streams over wall time.
    tick_p50_ms, tick_p99_ms : float
        Processor time of a tick of all streams.
    rungs : mapping from str to int
        Concealed samples by rung: on a busy machine the engine steps down.
    """

    varied: str
    settings: TimedStream
    streams: int
    lost_share: float
    packet_us: float
    core_percent: float
    real_time_factor: float
    tick_p50_ms: float
    tick_p99_ms: float
    rungs: dict[str, int]


def measure_cost(settings: TimedStream, streams: int = 1, varied: str = "") -> Cost:
    """Measure the cost of streams that take turns."""
    crowd = Crowd(settings)
    crowd.drive(streams, _warm_up_ticks(settings))
    with watched(False):
        tick_ms, wall_s = crowd.drive(streams)
    crowd.close()
    cpu_s = 1e-3 * float(tick_ms.sum())
    audio_s = tick_ms.size * streams * settings.packet_ms / 1000
    p50_ms, p99_ms = (float(value) for value in np.percentile(tick_ms, [50, 99]))
    return Cost(
        varied=varied,
        settings=settings,
        streams=streams,
        lost_share=crowd.lost_share,
        packet_us=1e6 * cpu_s / (tick_ms.size * streams),
        core_percent=100 * cpu_s / audio_s,
        real_time_factor=audio_s / wall_s,
        tick_p50_ms=p50_ms,
        tick_p99_ms=p99_ms,
        rungs=crowd.rungs,
    )


def growth_cases(settings: TimedStream, most_streams: int) -> list[tuple[str, TimedStream, int]]:
    """Return the cases of growing cost: name, settings, number of streams."""
    long = dataclasses.replace(settings, seconds=_ALONE_LONGER * settings.seconds)
    varied = [
        *(("loss", dataclasses.replace(long, loss=share)) for share in GROWTH_LOSS),
        *(("burst", dataclasses.replace(long, mean_burst=burst)) for burst in GROWTH_BURST),
        *(("channels", dataclasses.replace(long, channels=count)) for count in GROWTH_CHANNELS),
    ]
    return [(name, case, 1) for name, case in varied if _exists(case)] + [
        ("streams", settings, count) for count in GROWTH_STREAMS if count <= most_streams
    ]


def measure_growth(settings: TimedStream, most_streams: int) -> list[Cost]:
    """Measure cost over loss, bursts, channels and number of streams."""
    return [
        measure_cost(case, streams, varied)
        for varied, case, streams in growth_cases(settings, most_streams)
    ]


def _exists(settings: TimedStream) -> bool:
    """Return whether such losses are possible: much loss does not come in short bursts."""
    try:
        GilbertElliott(settings.loss, settings.mean_burst)
    except ConfigError:
        return False
    return True


@dataclass(frozen=True, slots=True, kw_only=True)
class Capacity:
    """Number of streams that run in real time on one core.

    Attributes
    ----------
    settings : TimedStream, of each
    cpu : int or None
        The CPU that the process was bound to; None where that is impossible.
    streams : int
        The most for which ticks are done in time; 0 if one is too much.
    at_most : bool
        Whether the search ended there because it was not to go on.
    late_share : float
        Of ticks, 0 to 1, at that number; of one stream where even that is too much.
    real_time_factor : float
        At that number: audio time over wall time.
    by_processor_time : float
        The same over processor time: the streams that fit in were all ticks equally long.
    rungs : mapping from str to int
        Concealed samples by rung, of all streams and measurements.
    """

    settings: TimedStream
    cpu: int | None
    streams: int
    at_most: bool
    late_share: float
    real_time_factor: float
    by_processor_time: float
    rungs: dict[str, int]


def measure_capacity(settings: TimedStream, most: int) -> Capacity:
    """Search the number of streams that one core runs in real time.

    The process is bound to that core.
    """
    cpu = next(reversed(usable_cpus()), None)  # the first ones serve interrupts
    pin(cpu)
    crowd = Crowd(settings)
    few = min(4, most)
    crowd.drive(few, _warm_up_ticks(settings))
    allowed = _LATE_SHARE if settings.packets >= _MANY_TICKS else _LATE_SHARE_OF_FEW
    seen: dict[int, tuple[float, float, float]] = {}

    def in_time(streams: int) -> bool:
        with watched(False):
            tick_ms, wall_s = crowd.drive(streams)
        late = late_share(tick_ms, settings.packet_ms)
        audio_ms = streams * settings.packet_ms * tick_ms.size
        seen[streams] = late, audio_ms / (1e3 * wall_s), audio_ms / float(tick_ms.sum())
        return late <= allowed

    tick_ms, _ = crowd.drive(few)
    guess = round(few * settings.packet_ms / float(tick_ms.mean()))
    streams = most_in_time(in_time, guess, most)
    crowd.close()
    late, factor, by_processor_time = seen.get(streams, seen[min(seen)])
    return Capacity(
        settings=settings,
        cpu=cpu,
        streams=streams,
        at_most=all(one[0] <= allowed for one in seen.values()),
        late_share=late,
        real_time_factor=factor,
        by_processor_time=by_processor_time,
        rungs=crowd.rungs,
    )


def most_in_time(in_time: Callable[[int], bool], guess: int, most: int) -> int:
    """Return the largest number, to 3 %, for which ``in_time`` holds: 0 to ``most``.

    Numbers are tried from ``guess`` upwards or downwards until one holds and one does not, and then
    between.
    """
    low, high = 0, most + 1
    at = min(max(guess, 1), most)
    while high - low > max(1, int(_PRECISION * low)):
        low, high = (at, high) if in_time(at) else (low, at)
        if high > most:
            at = min(most, int(_STRIDE * low) + 1)
        elif low == 0:
            at = max(1, int(high / _STRIDE))
        else:
            at = (low + high) // 2
    return low


def late_share(tick_ms: NDArray[np.float64], packet_ms: float) -> float:
    """Return the share of ticks that end after the next turn.

    Parameters
    ----------
    tick_ms : float64, shape (n,)
        Durations; tick ``i`` has its turn at ``i * packet_ms`` and begins then, or when the one
        before has ended.
    packet_ms : float, between turns
    """
    late = 0
    waited_ms = 0.0
    for took_ms in tick_ms.tolist():
        answer_ms = waited_ms + took_ms
        late += answer_ms > packet_ms
        waited_ms = max(0.0, answer_ms - packet_ms)
    return late / max(tick_ms.size, 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """Resident memory of a stream.

    Attributes
    ----------
    settings : TimedStream, of each
    streams : int
        How many were opened after the first.
    first_mb : float
        Memory of the process with one stream, in MiB.
    stream_mb : float, of each further stream
    """

    settings: TimedStream
    streams: int
    first_mb: float
    stream_mb: float


def measure_memory(settings: TimedStream, streams: int) -> Memory:
    """Measure the memory of a stream that has concealed for a while."""
    crowd = Crowd(settings)
    ticks = _warm_up_ticks(settings)
    crowd.drive(1, ticks)
    first_mb = resident_mb()
    crowd.drive(1 + streams, ticks)
    grown_mb = resident_mb() - first_mb
    crowd.close()
    return Memory(
        settings=settings, streams=streams, first_mb=first_mb, stream_mb=grown_mb / streams
    )


def _warm_up_ticks(settings: TimedStream) -> int:
    return max(1, round(1000 * _WARM_UP_S / settings.packet_ms))
