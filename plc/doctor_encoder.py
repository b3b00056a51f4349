"""What the encoder will run on here: the findings about networks behind ``plc doctor``.

Every installed provider is tried by itself with every network of the package, for installed is not
the same as working; opening it is timed as a stream would have to wait for it.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from plc.bound import SessionReport
from plc.encoder import EncoderShape, open_encoder
from plc.engine_cache import cache_root
from plc.errors import MissingExtraError, PlcError
from plc.manifest import Manifest
from plc.models import available
from plc.providers import gpu_name, installed_providers
from plc.session import runtime

Progress = Callable[[str], None]

SAMPLE_RATE = 48_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One network on one provider."""

    model: str
    provider: str
    report: SessionReport | None
    """None where it does not work; ``problem`` says why."""
    problem: str = ""
    run_ms: float | None = None
    """One gap at 48 kHz, mono; the least of a few runs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderHealth:
    """What was found out about networks."""

    runtime: str | None
    """Version of ONNX Runtime; None if it is not installed."""
    providers: tuple[str, ...] = ()
    """Installed ones, the preferred first."""
    gpu: str = ""
    cache: Path = field(default_factory=cache_root)
    """Folder of compiled engines; only TensorRT needs it."""
    models: tuple[str, ...] = ()
    trials: tuple[Trial, ...] = ()
    problems: tuple[str, ...] = ()


def examine_encoder(
    models: Sequence[Manifest] | None = None, *, progress: Progress | None = None
) -> EncoderHealth:
    """Return what was found; nothing is raised for what does not work.

    Parameters
    ----------
    models : sequence of Manifest, optional
        Networks to try; by default those in the package.
    progress : callable, optional
        Called with what comes next.
    """
    tell = progress or (lambda what: None)
    problems: list[str] = []
    if models is None:
        try:
            models = available()
        except PlcError as error:
            models = []
            problems.append(_line(error))
    names = tuple(model.name for model in models)
    try:
        ort = runtime()
    except MissingExtraError as error:
        return EncoderHealth(runtime=None, models=names, problems=(*problems, _line(error)))
    providers = tuple(installed_providers(ort))
    trials = []
    for model in models:
        if model.kind == "paper":
            continue
        for provider in providers:
            tell(f"trying {model.name} on {provider}")
            trials.append(_try(model, provider))
    for name in names:
        tried = [trial for trial in trials if trial.model == name]
        if tried and all(trial.report is None for trial in tried):
            problems.append(f"{name} runs nowhere: {tried[-1].problem}")
    return EncoderHealth(
        runtime=str(ort.__version__),
        providers=providers,
        gpu=gpu_name(),
        models=names,
        trials=tuple(trials),
        problems=tuple(problems),
    )


def _try(model: Manifest, provider: str) -> Trial:
    rate = min(max(SAMPLE_RATE, model.sample_rates[0]), model.sample_rates[1])
    shape = EncoderShape(model.bins(rate), model.frames(rate))
    try:
        encoder = open_encoder(model, [shape], providers=provider)
    except PlcError as error:
        return Trial(model=model.name, provider=provider, report=None, problem=_line(error))
    times_s = []
    for _ in range(10):
        begin_s = time.perf_counter()
        encoder.keep_warm()
        times_s.append(time.perf_counter() - begin_s)
    return Trial(
        model=model.name, provider=provider, report=encoder.report, run_ms=1e3 * min(times_s)
    )


def encoder_facts(health: EncoderHealth) -> list[tuple[str, str]]:
    """Return the findings as lines for people: a name and what is so."""
    if health.runtime is None:
        return [("networks", health.problems[-1])]
    lines = [
        ("ONNX Runtime", f"{health.runtime}: {', '.join(health.providers)}"),
        ("GPU", health.gpu or "none that nvidia-smi knows"),
        ("networks", ", ".join(health.models) or "none in the package"),
    ]
    if "tensorrt" in health.providers:
        lines.append(("engine cache", str(health.cache / "tensorrt")))
    for trial in health.trials:
        lines.append((f"{trial.model} on {trial.provider}", _outcome(trial)))
    return lines


def _outcome(trial: Trial) -> str:
    report = trial.report
    if report is None:
        return f"does not work: {trial.problem}"
    graph = ", CUDA graphs" if report.cuda_graph else ""
    notes = "".join(f"; {note}" for note in report.notes)
    return (
        f"{trial.run_ms:.2f} ms a gap{graph}; load {report.load_ms:.0f} ms, "
        f"warm-up {report.warm_up_ms:.0f} ms{notes}"
    )


def _line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
