"""One network, open for a stream: its memory, its drafts, its thread and its cost."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

from plc.errors import ConfigError
from plc.limits import MUSIC_RATE
from plc.models.manifest import Manifest
from plc.networks.drafts import CAUSAL_DRAFTS, BridgeDraft, BurstDraft, Draft, PredictionDraft
from plc.networks.spectra import GapSpectra
from plc.networks.streams.costs import ANSWER_WITHIN_S, COSTS, UNKNOWN, Cost, Costs
from plc.networks.streams.switch import Switch, state_of
from plc.runtime.network import GapNetwork, NetworkShape, network_signature, open_network
from plc.runtime.runner import (
    DeferredRunner,
    InlineRunner,
    NetworkCounters,
    Runnable,
    Runner,
)
from plc.runtime.worker import NetworkWorker

DRAFTS = {
    "causal": tuple(CAUSAL_DRAFTS),
    "bridge": (BridgeDraft.PLAIN, BridgeDraft.ALONG_THE_PITCH),
}
"""By kind: the drafts that a stream can make for a model, the last being what it improves on."""
# From MUSIC_RATE on the first packet waits for a model for speech only if it is as long as that: in
# 10 ms at 48 kHz it would seldom be there in time, and those that follow gain nearly as much alone
# (docs/design.md).
_PROMPT_PACKET_MS = 20.0
OPEN_S = 120.0
"""Waiting for a model to load and warm up, at construction."""


def open_on_provider(manifest: Manifest, shape: NetworkShape, provider: str) -> GapNetwork:
    """Return a model's network, ready to run on a shape (:func:`open_network`)."""
    return open_network(manifest, shape, providers=provider)


@dataclass(frozen=True, slots=True)
class Opener:
    """Functions that open and measure networks.

    Attributes
    ----------
    network : callable
        Opens a model for a shape on a provider.
    costs : Costs
        What bursts cost.
    """

    network: Callable[[Manifest, NetworkShape, str], Runnable] = open_on_provider
    costs: Costs = COSTS


OPENER = Opener()
"""Opens networks, and measures them once in a process."""

DraftOf = TypeVar("DraftOf", bound=Draft)


@dataclass(slots=True)
class ServedNetwork(Generic[DraftOf]):
    """One model, open for a stream."""

    manifest: Manifest
    stream: tuple[int, int, int]
    """Sample rate, channels and samples of a packet."""
    gap: GapSpectra
    runner: Runner
    draft: DraftOf
    prompt: bool
    """Whether the first packet of a burst waits for it."""
    provider: str
    """As it was asked for."""
    clock: Callable[[], float]
    """The runner's."""
    costs: Costs
    switch: Switch
    cost: Cost = UNKNOWN

    @property
    def state(self) -> str:
        """As :func:`~plc.networks.streams.switch.state_of`."""
        return state_of(self.runner, self.switch)

    @property
    def first_ms(self) -> float:
        """Time that the first packet of a burst pays: its drafts, and the run or the asking."""
        network_ms = self.cost.burst_ms if self.prompt else self.cost.asking_ms
        return self.cost.draft_ms + network_ms

    @property
    def name(self) -> str:
        """Its name in ``stats``."""
        return f"network:{self.manifest.name}"

    def measure_again(self) -> bool:
        """Measure the cost once more, unless that was done often; return whether it was."""
        cost = self.costs.again(self)
        self.cost = cost or self.cost
        return cost is not None


def leave_passages(served: ServedNetwork[BurstDraft]) -> None:
    """Draft by linear prediction alone from now on."""
    served.draft = PredictionDraft(served.stream, served.gap.gap_start, served.draft.ahead)
    served.cost = replace(served.cost, draft_ms=0.0)


def open_served(
    manifest: Manifest,
    content: str,
    stream: tuple[int, int, int],
    limit_ms: float,
    reach: int,
    counters: NetworkCounters,
    clock: Callable[[], float],
    provider: str,
    opener: Opener,
    ahead: bool = False,
) -> ServedNetwork[Any]:
    """Open a model: in the caller's thread if there is no time limit, else in one of its own.

    One that is run ``ahead`` gets a thread without a time limit, too (:func:`defer`).

    Raises
    ------
    ConfigError, ModelError, MissingExtraError
        If the model takes other drafts or is not sound, or ONNX Runtime is not installed.
    """
    if manifest.drafts not in DRAFTS[manifest.kind]:
        made = " or ".join(", ".join(drafts) for drafts in DRAFTS[manifest.kind])
        raise ConfigError(
            f"model {manifest.name} takes the drafts {', '.join(manifest.drafts)}; "
            f"a stream makes {made} for one that is {manifest.kind}"
        )
    gap = GapSpectra(manifest, *stream[:2])
    draft = _draft_of(manifest, gap, stream, reach)
    signature = network_signature(manifest, gap.shape)

    def opened() -> Runnable:
        return opener.network(manifest, gap.shape, provider)

    runner: Runner
    if limit_ms == float("inf") and not ahead:
        runner = InlineRunner(opened(), signature, clock)
    else:
        worker = NetworkWorker(opened, signature, clock=clock)
        worker.wait_until_open(OPEN_S)
        runner = worker
    runner.counters = counters
    served = ServedNetwork(
        manifest=manifest,
        stream=stream,
        gap=gap,
        runner=runner,
        draft=draft,
        prompt=is_prompt(manifest, content, stream, ahead),
        provider=provider,
        clock=clock,
        costs=opener.costs,
        switch=Switch(),
    )
    served.cost = opener.costs.of(served)
    return served


def defer(served: ServedNetwork[Any], opener: Opener) -> None:
    """Move a model to the caller's thread, which runs it when collecting.

    Until then it has a worker, as one that hangs has to be found out.
    """
    counters = served.runner.counters
    served.runner.close()
    shape = served.gap.shape
    network = opener.network(served.manifest, shape, served.provider)
    served.runner = DeferredRunner(
        network, network_signature(served.manifest, shape), served.gap.analyse, served.clock
    )
    served.runner.counters = counters


def is_prompt(
    manifest: Manifest, content: str, stream: tuple[int, int, int], ahead: bool = False
) -> bool:
    """Tell whether a burst's first packet waits for the model.

    ``content`` is the one that it serves; ``stream`` is sample rate, channels and packet samples.
    What is prepared ``ahead`` has the time for it in short packets, too.
    """
    sample_rate, _, packet_samples = stream
    of_music = manifest.content == "music" or content == "music"
    short = (
        not ahead
        and sample_rate >= MUSIC_RATE
        and packet_samples < sample_rate * _PROMPT_PACKET_MS / 1000.0
    )
    return manifest.kind == "bridge" or not (of_music or short)


def no_answer() -> str:
    """Return why a network with an infinite cost is not used."""
    return f"it did not answer within {ANSWER_WITHIN_S:g} s"


def _draft_of(
    manifest: Manifest, gap: GapSpectra, stream: tuple[int, int, int], reach: int
) -> Draft:
    past = gap.gap_start
    if manifest.kind == "bridge":
        follows = manifest.drafts == BridgeDraft.ALONG_THE_PITCH
        return BridgeDraft(stream, past, gap.samples, gap.horizon, reach, follows)
    return CAUSAL_DRAFTS[manifest.drafts](stream, past, gap.samples - past)
