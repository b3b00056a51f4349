"""The networks of a stream, chosen by its format and by their cost on this machine."""

import math
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from plc import notice
from plc.engine.predict.ladder import Ladders, Rung
from plc.engine.runtime.worker import StreamContext
from plc.engine.stream.concealment import StepNetworks, StepPrediction
from plc.engine.stream.config import StreamConfig
from plc.engine.stream.memory import StreamMemory, header_of
from plc.errors import ConfigError, ModelError, in_a_line
from plc.kept_costs import find_cost, keep_cost
from plc.processor_time import thread_clock
from plc_kernels.signal.recall import LEAST_LAG_MS
from plc_kernels.stream import extend_network, layout, networks, step
from plc_kernels.stream.extend import NETWORK_SHARE
from plc_kernels.stream.gap import FILE_AT, NETS
from plc_kernels.stream.start import forget_stream

if TYPE_CHECKING:
    from plc.engine.models.manifest import Manifest
    from plc.engine.networks.flat import FlatModels

_RUNS = 5
# Where it cannot be measured, as the network that it is measured with is not sound: half of what
# current processors do.
_WORK_PER_MS = 20e6
# Of the time limit, what is left to a network that runs outside the step: whether the packet waits
# for its answer, or only asks.
_WAITING, _ASKING = 0.55, 0.4


def step_networks(
    config: StreamConfig,
    manifests: dict[str, "Manifest"],
    within_ms: float,
    optional: bool,
    outside: StreamContext | None = None,
    prepares: bool = False,
) -> StepNetworks | None:
    """Return the networks that serve a stream; None if kernels cannot compute one of them.

    Parameters
    ----------
    config : StreamConfig, of the stream
    manifests : dict, by content of :data:`NETS`
    within_ms : float
        Time for a burst's first packet, in ``push`` or ahead of it.
    optional : bool
        Whether one that is not sound is left out, which a notice tells, instead of an error.
    outside : StreamContext or None
        Of a stream whose networks ONNX Runtime runs; None: kernels do.
    prepares : bool, whether its bursts are prepared

    Raises
    ------
    ModelError
        If a model's files are not sound.
    ConfigError
        If a model that was asked for by name is not for this stream.
    MissingExtraError
        If ONNX Runtime is to run it, and is not installed.
    """
    left_out: dict[str, dict[str, Any]] = {}
    outside_at = 0 if outside is None else config.sample_rate
    try:
        models = _shared(manifests, outside_at)
    except ModelError:
        if not optional:
            raise
        left_out = _unsound(manifests, outside_at)
        sound = {of: manifests[of] for of in manifests if of not in left_out}
        models = _shared(sound, outside_at)
    if models is None:
        return StepNetworks(None, {}, left_out) if len(left_out) == len(manifests) else None
    header = header_of(config)
    networks.choose_networks(models.address, models.words.nbytes, header)
    per_ms = math.inf if within_ms == math.inf else work_per_ms()
    chosen: dict[str, tuple[str, float]] = {}
    for of, net in NETS.items():
        if header[net + FILE_AT] < 0:
            continue
        name = models.names[int(header[net + FILE_AT])]
        if outside is not None:
            chosen[of] = name, _reserved_ms(config, of, bool(header[extend_network.PROMPT]))
            continue
        cost_ms = networks.cost_of(models.address, header, net) / per_ms
        if cost_ms <= NETWORK_SHARE * within_ms:
            chosen[of] = name, cost_ms
            continue
        budget_ms = math.ceil(10.0 * cost_ms / NETWORK_SHARE) / 10.0
        left_out[of] = {"model": name, "mode": "left out", "cost_ms": round(cost_ms, 4)}
        if budget_ms <= config.packet_ms:
            left_out[of]["budget_ms"] = budget_ms
    if not (chosen or left_out or optional):
        _check_serves(config, *manifests.values())
    for_all = config.model != "auto" and "music" not in chosen
    opened = None
    if outside is not None and chosen:
        from plc.engine.stream.outside import OutsideNetworks

        by_name = {each.name: each for each in manifests.values()}
        served = {of: by_name[name] for of, (name, _) in chosen.items()}
        opened = OutsideNetworks(outside, served, prepares)
    return StepNetworks(models, chosen, left_out, for_all, outside=opened)


def _check_serves(config: StreamConfig, *manifests: "Manifest") -> None:
    """Refuse models that continue no burst of a stream; bridges are left out where none fits."""
    for each in manifests:
        if each.kind == "causal":
            low, high = each.sample_rates
            raise ConfigError(
                f"model {each.name} is for {low} to {high} Hz and gaps to {each.horizon_ms:g} ms; "
                f"the stream has {config.sample_rate} Hz, and passages of music reach through "
                f"{LEAST_LAG_MS:g} ms: give another model, rate or horizon"
            )


def _reserved_ms(config: StreamConfig, of: str, prompt: bool) -> float:
    """Return the time of a packet that is left to a network outside the step."""
    if config.time_limit_ms == math.inf:
        return 0.0
    waits = of != "music" and (prompt or of != "speech")
    return (_WAITING if waits else _ASKING) * config.time_limit_ms


def _shared(manifests: dict[str, "Manifest"], outside_at: int) -> "FlatModels | None":
    from plc.engine.networks.flat import shared_models

    apart = {manifest.sha256: manifest for manifest in manifests.values()}
    return shared_models(*apart.values(), outside_at=outside_at) if apart else None


def _unsound(manifests: dict[str, "Manifest"], outside_at: int) -> dict[str, dict[str, Any]]:
    """Return by content why a model is not sound, and report it."""
    found: dict[str, dict[str, Any]] = {}
    for of, manifest in manifests.items():
        try:
            _shared({of: manifest}, outside_at)
        except ModelError as error:
            why = in_a_line(error)
            found[of] = {"model": manifest.name, "mode": "left out", "why": why}
            notice.tell(f"the network {manifest.name} is left out: {why}")
    return found


@cache
def work_per_ms() -> float:
    """Return the multiply-adds of a network that a ms of this processor has time for.

    Measured with the package's network for speech, once a day on a machine.
    """
    found = find_cost("networks", 1)
    if found is not None and found.values[0] > 0.0:
        return found.values[0]
    from plc.engine.models.catalogue import find
    from plc.engine.networks.flat import shared_models

    try:
        models = shared_models(find("speech"))
    except ModelError:
        models = None
    if models is None:
        return _WORK_PER_MS
    config = StreamConfig(sample_rate=16_000, packet_ms=20.0, budget_ms=math.inf)
    rung = Rung(4.0, 16.0)
    ladders = Ladders(16_000, 1, config.packet_samples, rungs=(rung, rung))
    chosen = StepNetworks(models, {"speech": ("speech", 0.0)}, {}, for_all=True)
    memory = StreamMemory(config, StepPrediction(ladders, chosen))
    work = networks.cost_of(models.address, memory.block, layout.SPEECH_NET)
    per_ms = work / min(_burst_ms(memory, models.address) for _ in range(_RUNS))
    keep_cost("networks", per_ms)
    return per_ms


def _burst_ms(memory: StreamMemory, address: int) -> float:
    """Return the time that a network takes for the first packet of a burst of noise."""
    forget_stream(memory.block)
    ring = memory.array(layout.RING)
    ring[:] = np.random.default_rng(0).standard_normal(ring.shape)
    block = memory.block
    block[layout.HISTORY_FILLED] = block[layout.HISTORY_TRUSTED] = block[layout.PAST]
    block[layout.TAKES] = 0
    inbox, missing = memory.inbox, memory.missing
    flags = step.step_many(block[None], step.PUSH, inbox, 0, False, missing, 0, inbox, 0, 1)
    clock = thread_clock()
    began = clock()
    networks.fill_part(block, address, flags)
    spent_ms = 1e3 * (clock() - began)
    step.step_many(block[None], step.GO_ON, inbox, 0, False, missing, 0, inbox, 0, 1)
    return max(spent_ms, 1e-3)
