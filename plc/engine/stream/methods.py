"""The methods of concealment by name."""

import math
import re
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from plc.engine.ahead.bursts import BurstsAhead
from plc.engine.ahead.pace import PREPARE_SHARE, PreparationCounters, PreparationPace
from plc.engine.models.kinds import KINDS, opener
from plc.engine.predict.ladder import SERVER, SERVER_DRAFTS, Ladders, Rung
from plc.engine.runtime.worker import NetworkCounters, StreamContext
from plc.engine.stream.concealment import StepNetworks, StepPrediction
from plc.engine.stream.config import StreamConfig
from plc.engine.stream.dependencies import Dependencies
from plc.engine.stream.memory import StreamMemory
from plc.engine.stream.network_choice import step_networks
from plc.errors import ConfigError, unknown
from plc_kernels.signal.predict import LEAST_PAST_SAMPLES
from plc_kernels.signal.rungs import HEADROOM, MAX_ORDER, MAX_PAST_SAMPLES
from plc_kernels.stream.layout import reach_of
from plc_kernels.stream.preparation import SHARING

if TYPE_CHECKING:
    from plc.engine.models.manifest import Manifest

METHODS: dict[str, str] = {
    "auto": "linear prediction, improved by a network where one fits the content and the time",
    "ar": "linear prediction (Burg) at the order and past that time and content allow",
    "burg": "Burg of order 5 ms on 50 ms; burg:ORDER_MS/PAST_MS for any other",
    "server": "short linear prediction, and the network for speech: for many streams at once",
}
"""Name to description, of those that conceal streams; ``burg:ORDER_MS/PAST_MS`` is one, too. """

FILE_METHODS: dict[str, str] = {
    "restore": "plc inpaint, repair: gaps to 256 ms as lost frames of a spectrogram, to 8 kHz",
    "gacela": "plc inpaint, repair: a network invents gaps to 1500 ms; --seed varies them",
}
"""Name to description, of networks that fill gaps of recordings, and conceal no stream."""

BASELINES: dict[str, str] = {
    "lpc": "plc inpaint, bench: of Marafioti et al. 2019, Burg of order 1000 on 2048 samples",
    "pitch": "plc inpaint, bench: the last pitch period, repeated",
    "repeat": "plc inpaint, bench: the last packet, repeated",
    "magnitude": "plc inpaint, bench: spectral magnitudes held, or interpolated across the gap",
    "zeros": "plc inpaint, bench: silence, with hard edges",
}
"""Name to description, of what fills gaps of recordings without this engine
(:mod:`plc.engine.predict.baselines`)."""

RECORDING_METHODS = (*(name for name in METHODS if name != "server"), *BASELINES, *FILE_METHODS)
"""Names of those that fill gaps of recordings."""

LADDER_METHODS = ("auto", "ar")
"""Those that are the ladder itself."""

_DEPENDENCIES = Dependencies()
# Every rung fits that.
_LONGEST_MS = 1e6
_PLAIN_BURG = Rung(5.0, 50.0)
# In shorter packets most bursts are over before a network answers: it costs twenty times what
# prediction does, and is not heard (docs/notebook.md, "Networks on servers").
_SHORT_MS = 5.0
# On steady content a fit serves so long: half of it would cost a quarter more, and gain little.
_REFIT_MS = 50.0


def make_method(
    config: StreamConfig,
    clock: Callable[[], float] = time.perf_counter,
    counters: NetworkCounters | None = None,
    many: bool = False,
    depends: Dependencies = _DEPENDENCIES,
) -> StepPrediction:
    """Return the concealment of a stream by its method: ladders and networks.

    Parameters
    ----------
    config : StreamConfig, of the stream
    clock : callable
        Returns seconds; the network's deadline is measured with it.
    counters : NetworkCounters or None, where the network's runs are counted
    many : bool
        Whether it is for many streams, which share the runs of networks outside the step.
    depends : Dependencies, what waits for networks

    Raises
    ------
    ConfigError
        If the method is unknown, or the model is not for such a stream.
    ModelError, MissingExtraError
        If the model is unknown or not sound, or ONNX Runtime is not installed.
    """
    stream = (config.sample_rate, config.channels, config.packet_samples)
    method = config.method
    longest = int(reach_of(config.sample_rate, config.packet_samples))
    reach = min(config.lookahead * config.packet_samples, longest)

    def context() -> StreamContext:
        counted = counters or NetworkCounters()
        limit_ms, provider, wait = config.time_limit_ms, config.provider, depends.next_result
        return StreamContext(*stream, limit_ms, reach, clock, provider, counted, many, wait)

    if method in LADDER_METHODS:
        named = "ar" if method == "ar" else config.model
        models, bridges = stream_models(named, config.sample_rate, config.content)

        for manifest in bridges.values():
            if place := KINDS[manifest.kind].filler:
                from plc.engine.stream.outside import OutsideNetworks

                ladders, given = Ladders(*stream, config.time_limit_ms, reach), context()
                encoder = opener(place)(given, config.lookahead, manifest)
                outside = OutsideNetworks(given, {}, encoder=encoder)
                chosen = {"speech, bridged": (manifest.name, 0.0)}  # the packet waits for none
                networks = StepNetworks(None, chosen, {}, outside=outside)
                return StepPrediction(ladders, networks, limit_ms=config.time_limit_ms)
        return _in_the_step(config, models, bridges, reach, context)
    if method == "server":
        return _server(config, None if config.provider == "auto" else context)
    rung = rung_of(method, config.sample_rate)
    ladders = Ladders(*stream, reach=reach, rungs=(rung, rung))
    return StepPrediction(ladders, from_onsets=False)


def _in_the_step(
    config: StreamConfig,
    models: "dict[str, Manifest]",
    bridges: "dict[str, Manifest]",
    reach: int,
    context: Callable[[], StreamContext],
) -> StepPrediction:
    """Return linear prediction with networks, which ``context`` is for where kernels are not."""
    limit_ms = config.time_limit_ms
    manifests = dict(models)
    if models.get("speech") is models.get("music") is not None and config.model == "auto":
        del manifests["speech"]  # music's network serves speech, too
    if "speech" in bridges:
        manifests["speech, bridged"] = bridges["speech"]
    prepares = SHARING if config.prepares and (models or config.prepare == "always") else 0
    within_ms = max(limit_ms, preparation_ms(config)) if prepares else limit_ms
    networks = None
    if manifests:
        given = config, manifests, within_ms, config.model == "auto"
        if config.provider == "auto":
            networks = step_networks(*given)
        if networks is None:
            networks = step_networks(*given, context(), prepares != 0)
    # Rungs that fit no limit are timed, too: a burst that was not prepared has one.
    measured_ms = min(within_ms, _LONGEST_MS) if limit_ms < math.inf else limit_ms
    ladders = Ladders(
        config.sample_rate, config.channels, config.packet_samples, measured_ms, reach
    )
    return StepPrediction(ladders, networks, prepares, limit_ms)


def _server(config: StreamConfig, outside: Callable[[], StreamContext] | None) -> StepPrediction:
    """Return short rungs, and the network for speech where it answers in time."""
    networks = None
    if config.model == "auto" and config.packet_ms >= _SHORT_MS and config.content != "music":
        networks = _speech(config, outside)
    rungs = SERVER if networks is None else SERVER_DRAFTS
    stream = config.sample_rate, config.channels, config.packet_samples
    limit_ms = config.time_limit_ms
    ladders = Ladders(*stream, rungs=rungs)
    return StepPrediction(ladders, networks, limit_ms=limit_ms, refit_ms=_REFIT_MS)


def _speech(
    config: StreamConfig, outside: Callable[[], StreamContext] | None
) -> StepNetworks | None:
    manifest = stream_models("auto", config.sample_rate)[0].get("speech")
    if manifest is None or manifest.content != "speech":  # music's hears all that is played
        return None
    within_ms = math.inf if config.time_limit_ms == math.inf else config.packet_ms
    found = step_networks(
        config, {"speech": manifest}, within_ms, True, None if outside is None else outside()
    )
    return found if found is not None and found.chosen else None


def bursts_ahead(
    config: StreamConfig,
    memory: StreamMemory,
    method: StepPrediction,
    counters: PreparationCounters,
    depends: Dependencies = _DEPENDENCIES,
) -> BurstsAhead | None:
    """Return the preparation of a stream's bursts; None if its method has none.

    Prepared concealments are counted in ``counters``.
    """
    if not method.prepares:
        return None
    bounded = config.prepare == "auto"
    most_ms = preparation_ms(config)
    dearest_ms = method.ladders.steady[0].cost_ms / HEADROOM
    networks = method.step_networks
    if networks is not None:
        dearest_ms += max(networks.costs_ms())
    pace = PreparationPace(bounded, config.packet_ms, min(most_ms, dearest_ms))
    answer = None if method.outside is None else method.outside.prepare
    return BurstsAhead(memory, pace, counters, most_ms, answer, depends.prepare)


def preparation_ms(config: StreamConfig) -> float:
    """Return the time that a preparation may take; ``inf`` for as much as it takes."""
    return PREPARE_SHARE * config.packet_ms if config.prepare == "auto" else math.inf


def stream_models(
    model: str, sample_rate: int, content: str = "auto"
) -> "tuple[dict[str, Manifest], dict[str, Manifest]]":
    """Return the networks of a stream by content: for continuing and for bridging.

    Parameters
    ----------
    model : str
        ``"ar"``: none. ``"auto"``: those in the package that know this sample rate, the one for
        music alone where there is none for speech. Any other: a name or a path, for all
        content; a context encoder counts as one that bridges.
    sample_rate : int, in Hz
    content : str
        As for :class:`~plc.StreamConfig`: of the package's, those for other content are left out.

    Raises
    ------
    ConfigError, ModelError
        If a model that was asked for is not for streams, or is not sound.
    """
    by_kind: dict[str, dict[str, Manifest]] = {"causal": {}, "bridge": {}}
    if model != "ar":
        from plc.engine.models.catalogue import available, find

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
            if content != "auto":
                for kind, found in by_kind.items():
                    by_kind[kind] = {content: found[content]} if content in found else {}
    return by_kind["causal"], by_kind["bridge"]


def rung_of(method: str, sample_rate: int, known: Iterable[str] = METHODS) -> Rung:
    """Return the rung that ``method`` names, one of those that are ``known``.

    Raises
    ------
    ConfigError
        If the method names none, or its order or past is out of range.
    """
    if method == "burg":
        return _PLAIN_BURG
    if known is METHODS and method in RECORDING_METHODS and method not in METHODS:
        peer = ", and is a peer of plc bench quality" if method in BASELINES else ""
        raise ConfigError(
            f"method {method} fills gaps of recordings (plc inpaint --method {method}){peer}; of a "
            f"stream it is one of {', '.join(METHODS)}"
        )
    explicit = re.fullmatch(r"burg:(\d+(?:\.\d+)?)/(\d+(?:\.\d+)?)", method)
    if explicit is None:
        more = ", and burg:ORDER_MS/PAST_MS such as burg:20/100"
        raise ConfigError(unknown("method", method, known, more))
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
