"""How many streams' lost packets one accelerator improves in time.

The streams that lose a packet at the same tick go to the network together, padded to the next batch
size, as a server would do it; the draft of each stays on a processor core. In time is what is back
within the budget.
"""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from plc.models.manifest import Manifest
from plc.runtime.network import NetworkShape
from plc.runtime.providers import gpu_name, installed_providers
from plc.runtime.session import runtime
from plc_bench.timing import gpu
from plc_bench.timing.throughput import most_in_time

_BATCHES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
# A processor takes as many times longer as a batch is large.
_BATCHES_ON_CPU = (1, 2, 4, 8)
_MISSED_SHARE = 0.001
# The share of streams that lose a packet at one tick stays below this many times its mean.
_HEADROOM = 2.0
_GUESS = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuCapacity:
    """What one device reaches.

    Attributes
    ----------
    device, provider, model : str
        Which device, through what, which network.
    streams : int
        The most for which 999 of 1000 gaps are filled within the budget.
    at_most : bool
        Whether the search ended there because larger batches were not prepared.
    budget_ms : float
        For each gap.
    measured : list of dict
        What each number of streams tried came to, as :func:`plc_bench.timing.gpu.many_streams` says
        it.
    """

    device: str
    provider: str
    model: str
    streams: int
    at_most: bool
    budget_ms: float
    measured: list[dict[str, Any]]


def measure_gpu(
    manifest: Manifest,
    provider: str,
    seconds: float,
    batches: tuple[int, ...] | None = None,
    on_tried: Callable[[int], object] = lambda streams: None,
) -> GpuCapacity:
    """Return how many streams a provider serves with a causal network at 48 kHz.

    Parameters
    ----------
    manifest : Manifest
        Of the network.
    provider : str
        ``"cuda"``, ``"tensorrt"``, or ``"cpu"`` for comparison.
    seconds : float
        Of real time for each number of streams that is tried.
    batches : tuple of int
        Sizes that are prepared; they bound the number of streams. By default up to 512, on a
        processor up to 8.
    on_tried : callable
        Called with each number of streams that was tried.
    """
    batches = batches or (_BATCHES_ON_CPU if provider == "cpu" else _BATCHES)
    bins, frames = manifest.bins(gpu.SAMPLE_RATE), manifest.frames(gpu.SAMPLE_RATE)
    shapes = tuple(NetworkShape(bins, frames, batch) for batch in batches)
    subject = gpu.Subject(manifest, provider, shapes)
    settings = gpu.Settings(seconds=seconds)
    most = max(1, int(max(batches) / (_HEADROOM * settings.loss)))
    measured: list[dict[str, Any]] = []

    def in_time(streams: int) -> bool:
        result = gpu.many_streams(subject, dataclasses.replace(settings, streams=streams))
        measured.append(result)
        on_tried(streams)
        return bool(result["missed_share"] <= _MISSED_SHARE)

    streams = most_in_time(in_time, _GUESS, most)
    device = gpu.machine()["gpu" if provider != "cpu" else "cpu"]
    return GpuCapacity(
        device=device,
        provider=provider,
        model=manifest.name,
        streams=streams,
        at_most=streams == most,
        budget_ms=gpu.BUDGET_MS,
        measured=measured,
    )


def gpu_provider() -> str | None:
    """Return the provider of the accelerator that is there; None without one."""
    if not gpu_name():
        return None
    return next((name for name in installed_providers(runtime()) if name != "cpu"), None)
