"""The methods of concealment by name."""

import re
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from plc.engine.config import StreamConfig
from plc.engine.prediction import StepPrediction
from plc.errors import ConfigError
from plc.limits import RECOVERY_MS
from plc.models.kinds import KINDS, opener
from plc.predict.baselines import MagnitudeFiller, PitchFiller, RepeatFiller, ZerosFiller
from plc.predict.filler import Filler, Method
from plc.predict.ladder import (
    HEADROOM,
    LEAST_PAST_SAMPLES,
    MAX_ORDER,
    MAX_PAST_SAMPLES,
    Ladders,
    Rung,
)
from plc.predict.linear import ArFiller
from plc.predict.lpc import LpcFiller
from plc.runtime.runner import NetworkCounters, PreparationCounters
from plc_kernels.stream.layout import FADE_MS, STEADY_HOLD_MS

if TYPE_CHECKING:
    from plc.models.manifest import Manifest
    from plc.networks.streams.served import StreamContext

METHODS: dict[str, str] = {
    "auto": "linear prediction, improved by a network where one fits the content and the time",
    "ar": "linear prediction (Burg) at the order and past that time and content allow",
    "lpc": "the reference of Marafioti et al. 2019: Burg of order 1000 on 2048 samples",
    "burg": "Burg of order 5 ms on 50 ms; burg:ORDER_MS/PAST_MS for any other",
    "pitch": "the last pitch period, repeated",
    "repeat": "the last packet, repeated",
    "magnitude": "spectral magnitudes held, or interpolated across the gap",
    "zeros": "silence, with hard edges",
}
"""Name to description; ``burg:ORDER_MS/PAST_MS`` is understood too."""

FILE_METHODS: dict[str, str] = {
    "restore": "plc inpaint, repair: gaps to 256 ms as lost frames of a spectrogram, to 8 kHz",
    "gacela": "plc inpaint, repair: a network invents gaps to 1500 ms; --seed varies them",
}
"""Name to description: of those that fill gaps of recordings, and conceal no stream."""

LADDER_METHODS = ("auto", "ar")
"""Those that are the ladder itself."""

_PLAIN_BURG = Rung(5.0, 50.0)

FILLERS: dict[str, Callable[[int, int, int], Filler]] = {
    "zeros": ZerosFiller,
    "repeat": RepeatFiller,
    "pitch": PitchFiller,
    "magnitude": MagnitudeFiller,
    "lpc": LpcFiller,
}
"""Makers of those that are no linear prediction of ours, of sample rate, channels and packet."""


def make_method(
    config: StreamConfig,
    reach: int,
    clock: Callable[[], float] = time.perf_counter,
    counters: NetworkCounters | None = None,
    ahead: PreparationCounters | None = None,
) -> Method:
    """Return the filler of a stream for its method.

    Parameters
    ----------
    config : StreamConfig
        Of the stream.
    reach : int
        The longest bridge that will be asked for, and the most samples known beyond it.
    clock : callable
        Returns seconds; what the network's deadline is measured with.
    counters : NetworkCounters or None
        Where the network's runs are counted.
    ahead : PreparationCounters or None
        Where prepared concealments are counted.

    Raises
    ------
    ConfigError
        If the method is unknown, or the model is not for such a stream.
    ModelError, MissingExtraError
        If the model is unknown or not sound, or ONNX Runtime is not installed.
    """
    stream = (config.sample_rate, config.channels, config.packet_samples)
    method = config.method
    if method in LADDER_METHODS:
        networks = "ar" if method == "ar" else config.model
        models, bridges = stream_models(networks, config.sample_rate)
        if not (models or bridges or config.prepares):
            return StepPrediction(Ladders(*stream, config.time_limit_ms, reach))
        from plc.networks.streams.served import StreamContext

        context = StreamContext(
            *stream,
            limit_ms=config.time_limit_ms,
            reach=reach,
            clock=clock,
            provider=config.provider,
            optional=config.model == config.provider == "auto",
            counters=counters or NetworkCounters(),
        )
        for manifest in bridges.values():
            if place := KINDS[manifest.kind].filler:
                filler: Filler = opener(place)(context, config.lookahead, manifest)
                return filler
        if config.prepares and (models or config.prepare == "always"):
            return _prepared(config, context, models, ahead)
        if models or (bridges and reach):
            from plc.networks.streams.filler import NetworkFiller

            return NetworkFiller(context, models, bridges if reach else {})
        return StepPrediction(Ladders(*stream, config.time_limit_ms, reach))
    rung = rung_of(method, config.sample_rate)
    if rung is not None:
        return StepPrediction(Ladders(*stream, reach=reach, rungs=(rung, rung)))
    return FILLERS[method](*stream)


def make_filler(config: StreamConfig, reach: int) -> Filler:
    """Return the filler of a method, for gaps of recordings.

    Parameters
    ----------
    config : StreamConfig
        Of the recording.
    reach : int
        Samples of the longest gap, and of the most known beyond it.

    Raises
    ------
    ConfigError
        If the method is unknown.
    """
    stream = (config.sample_rate, config.channels, config.packet_samples)
    rung = rung_of(config.method, config.sample_rate)
    if rung is not None:
        return ArFiller(*stream, reach=reach, rung=rung)
    return FILLERS[config.method](*stream)


def _prepared(
    config: StreamConfig,
    context: "StreamContext",
    models: "dict[str, Manifest]",
    counters: PreparationCounters | None,
) -> Filler:
    """Return the ladder, prepared after each received packet."""
    from plc.networks.streams.ahead import AheadFiller
    from plc.networks.streams.filler import NetworkFiller
    from plc.networks.streams.pace import PREPARE_SHARE
    from plc.networks.streams.served import is_prompt

    stream = context.stream
    bounded = config.prepare == "auto"
    limit_ms = PREPARE_SHARE * config.packet_ms if bounded else float("inf")

    def opened_with(
        given: "dict[str, Manifest]", within_ms: float, ahead: bool
    ) -> ArFiller | NetworkFiller:
        if not given:
            return ArFiller(*stream, within_ms / HEADROOM if ahead else within_ms)
        return NetworkFiller(replace(context, limit_ms=within_ms, reach=0, ahead=ahead), given)

    def open_fallback(inner: ArFiller | NetworkFiller) -> ArFiller | NetworkFiller:
        opened = [served.manifest for served in getattr(inner, "networks", ())]
        prompt = {  # the others answer no sooner than the thread, asked when a burst begins
            content: model
            for content, model in models.items()
            if model in opened and is_prompt(model, content, stream)
        }
        return opened_with(prompt, config.time_limit_ms, False)

    per_ms = config.sample_rate / 1000.0
    longest = round((STEADY_HOLD_MS + FADE_MS) * per_ms) + config.packet_samples
    tail = round(RECOVERY_MS * per_ms)
    return AheadFiller(
        stream,
        partial(opened_with, models, limit_ms, True),
        open_fallback,
        config.time_limit_ms,
        longest + tail,
        tail,
        bounded,
        counters,
    )


def stream_models(
    model: str, sample_rate: int
) -> "tuple[dict[str, Manifest], dict[str, Manifest]]":
    """Return the networks of a stream by content: for continuing and for bridging.

    Parameters
    ----------
    model : str
        ``"ar"``: none. ``"auto"``: those in the package that know this sample rate, the one for
        music alone where there is none for speech. Any other: a name or a path, for all
        content; a context encoder counts as one that bridges.
    sample_rate : int
        In Hz.

    Raises
    ------
    ConfigError, ModelError
        If a model that was asked for is not for streams, or is not sound.
    """
    by_kind: dict[str, dict[str, Manifest]] = {"causal": {}, "bridge": {}}
    if model != "ar":
        from plc.models.catalogue import available, find

        if model != "auto":
            manifest = find(model)
            kind = KINDS[manifest.kind].stream
            if not kind:
                known = [name for name, each in KINDS.items() if each.stream]
                raise ConfigError(
                    f"model {manifest.name} is of kind {manifest.kind}; a stream needs one of "
                    f"{', '.join(known[:-1])} or {known[-1]}: plc models lists them"
                )
            by_kind[kind] = {"music": manifest, "speech": manifest}
        else:
            for manifest in available():
                low, high = manifest.sample_rates
                if manifest.kind in by_kind and low <= sample_rate <= high:
                    by_kind[manifest.kind][manifest.content] = manifest
            causal = by_kind["causal"]
            if "music" in causal and "speech" not in causal:
                causal["speech"] = causal["music"]
    return by_kind["causal"], by_kind["bridge"]


def rung_of(method: str, sample_rate: int) -> Rung | None:
    """Return the rung that ``method`` names; None for other methods.

    Raises
    ------
    ConfigError
        If the method is unknown, or its order or past is out of range.
    """
    if method == "burg":
        return _PLAIN_BURG
    if method in FILLERS:
        return None
    if method in FILE_METHODS:
        raise ConfigError(
            f"method {method} fills gaps of recordings (plc inpaint) and conceals no stream; "
            f"known: {', '.join(METHODS)}"
        )
    explicit = re.fullmatch(r"burg:(\d+(?:\.\d+)?)/(\d+(?:\.\d+)?)", method)
    if explicit is None:
        raise ConfigError(
            f"method is {method!r}; known: {', '.join(METHODS)}, and burg:ORDER_MS/PAST_MS "
            "such as burg:20/100"
        )
    order_ms, past_ms = (float(number) for number in explicit.groups())
    most_ms = 1000.0 * MAX_PAST_SAMPLES / sample_rate
    least_ms = 1000.0 * LEAST_PAST_SAMPLES / sample_rate
    order_limit_ms = min(past_ms / 2, 1000.0 * MAX_ORDER / sample_rate)
    if not (0 < order_ms <= order_limit_ms and least_ms <= past_ms <= most_ms):
        raise ConfigError(
            f"method is {method!r}; at {sample_rate} Hz the past may be {least_ms:.1f} to "
            f"{most_ms:.0f} ms and the order up to half of it and "
            f"{1000.0 * MAX_ORDER / sample_rate:.1f} ms"
        )
    return Rung(order_ms, past_ms)
