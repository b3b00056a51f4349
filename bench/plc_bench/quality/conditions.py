"""Conditions of a clip: its packets, and the lost ones among them.

Losses come from a Gilbert-Elliott model or from a trace. Either way they follow from the clip's
file name, so that a clip is damaged in the same way whatever runs beside it: the name seeds the
model, or chooses where in a longer trace the clip begins. In a folder of traces each clip has its
own, of the clip's name with the ending ``.trace`` or ``.txt``.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from plc.engine.loss import GilbertElliott
from plc.engine.stream.config import samples_of_packet
from plc.engine.trace_files import packet_samples_of_trace, read_trace
from plc.errors import ConfigError, TraceError
from plc_bench.base.corpus import clip_seed
from plc_bench.scores.metrics import Mask

TRACE_SUFFIXES = (".trace", ".txt")


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """Packets and losses of one run.

    Attributes
    ----------
    loss : float
        Share of packets lost, 0 to 1.
    mean_burst : float
        Mean number of packets in a burst.
    packet_samples : int or None
        Packet length in samples, at any rate, in place of ``packet_ms``.
    trace : str or None
        A trace file, or a folder with a trace for each clip, in place of ``loss`` and
        ``mean_burst``.
    """

    loss: float = 0.1
    mean_burst: float = 1.5
    packet_ms: float = 10.0
    packet_samples: int | None = None
    trace: str | None = None

    def __post_init__(self) -> None:
        """Check the settings that no clip is needed for."""
        GilbertElliott(self.loss, self.mean_burst)
        if self.packet_samples is not None and self.packet_samples < 1:
            raise ConfigError(f"packets of {self.packet_samples} samples; 1 is the least")
        if self.trace is not None and not Path(self.trace).exists():
            raise TraceError(f"the trace {self.trace} does not exist")

    @property
    def name(self) -> str:
        """A unique name that fits into a path: ``10pc-burst1.5-10ms``."""
        losses = f"{100 * self.loss:g}pc-burst{self.mean_burst:g}"
        if self.trace is not None:
            losses = Path(self.trace).name.removesuffix(".trace")
        samples = self.packet_samples
        return f"{losses}-{samples}samples" if samples else f"{losses}-{self.packet_ms:g}ms"

    @property
    def title(self) -> str:
        """The same for a reader."""
        losses = f"{100 * self.loss:g} % lost, mean burst {self.mean_burst:g}"
        if self.trace is not None:
            losses = f"losses of {Path(self.trace).name}"
        samples = self.packet_samples
        packets = f"{samples} samples" if samples else f"{self.packet_ms:g} ms"
        return f"packets of {packets}, {losses}"

    def samples_of_packet(self, sample_rate: int) -> int:
        """Return a packet's length in samples."""
        return self.packet_samples or samples_of_packet(self.packet_ms, sample_rate)

    def losses(self, clip: str, packets: int, packet_samples: int, seed: int) -> Mask:
        """Return which packets of a clip are lost: bool, shape (packets,).

        Raises
        ------
        TraceError
            If there is no trace for the clip, it is too short, or of other packets.
        """
        chosen = clip_seed(clip, seed)
        if self.trace is None:
            return GilbertElliott(self.loss, self.mean_burst).trace(packets, chosen)
        path = self._trace_of(clip)
        trace, stated = read_trace(path), packet_samples_of_trace(path)
        if stated is not None and stated != packet_samples:
            raise TraceError(
                f"the trace {path.name} is of packets of {stated} samples; the clip's have "
                f"{packet_samples}"
            )
        if trace.size < packets:
            raise TraceError(
                f"the trace {path.name} has {trace.size} packets; the clip has {packets}"
            )
        if path != Path(self.trace):  # the clip's own
            return trace[:packets]
        begin = int(np.random.default_rng(chosen).integers(trace.size - packets + 1))
        return trace[begin : begin + packets]

    def _trace_of(self, clip: str) -> Path:
        assert self.trace is not None
        source = Path(self.trace)
        if not source.is_dir():
            return source
        for suffix in TRACE_SUFFIXES:
            own = source / f"{Path(clip).stem}{suffix}"
            if own.exists():
                return own
        raise TraceError(
            f"no trace for {clip} in {source}; looked for its name with "
            f"{' or '.join(TRACE_SUFFIXES)}"
        )
