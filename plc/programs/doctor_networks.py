"""Examine the networks on this machine, for ``plc doctor``.

The kernels and every installed provider are tried by themselves with every network of the package,
for installed is not the same as working; opening it is timed as a stream would have to wait for it.
"""

import contextlib
import re
import time
import timeit
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from plc.engine.models.catalogue import available
from plc.engine.models.kinds import KINDS
from plc.engine.models.manifest import Manifest
from plc.engine.runtime.attempts import TELLS
from plc.engine.runtime.known import KernelNetwork, planned
from plc.engine.runtime.onnx_network import NetworkShape, network_signature, open_network
from plc.engine.runtime.providers import gpu_name, installed_providers
from plc.engine.runtime.session import runtime
from plc.engine.runtime.shared import SessionReport
from plc.errors import MissingExtraError, PlcError, in_a_line
from plc.extras import install_command
from plc.quiet import quiet_libraries
from plc_kernels.build.own_folder import cache_root

Progress = Callable[[str], None]

NATIVE = "native"
"""What reports call the kernels, as they call a provider by its name."""
SAMPLE_RATE = 48_000
# Of what a provider says for itself, a line keeps this much; --json has all of it.
_REASON_CHARACTERS = 160
# What brings the libraries that a provider misses.
_PACKAGES = {
    "cuda": "pip install 'onnxruntime-gpu[cuda,cudnn]' brings its libraries",
    "tensorrt": "pip install tensorrt brings its libraries",
}


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
class NetworkHealth:
    """Findings about the networks."""

    runtime: str | None
    """Version of ONNX Runtime; None if it is not installed."""
    providers: tuple[str, ...] = ()
    """The kernels and ONNX Runtime's, the preferred first."""
    gpu: str = ""
    cache: Path = field(default_factory=cache_root)
    """Folder of compiled engines; only TensorRT needs it."""
    models: tuple[str, ...] = ()
    trials: tuple[Trial, ...] = ()
    problems: tuple[str, ...] = ()


def examine_networks(
    models: Sequence[Manifest] | None = None, *, progress: Progress | None = None
) -> NetworkHealth:
    """Examine the networks and return the findings; failures do not raise.

    Parameters
    ----------
    models : sequence of Manifest, optional
        Networks to try; by default those in the package.
    progress : callable, optional
        Called with the name of each step.
    """
    tell = progress or (lambda what: None)
    problems: list[str] = []
    if models is None:
        try:
            models = available()
        except PlcError as error:
            models = []
            problems.append(in_a_line(error))
    names = tuple(model.name for model in models)
    version, on_gpu, gpu = None, [], ""
    with contextlib.suppress(MissingExtraError):
        ort = runtime()
        version, gpu = str(ort.__version__), gpu_name()
        on_gpu = [name for name in installed_providers(ort) if name != "cpu"]
    providers = (*on_gpu, NATIVE, "cpu")
    trials = []
    for model in models:
        if KINDS[model.kind].own_ports:
            continue
        for provider in providers:
            tell(f"trying {model.name} on {provider}")
            with quiet_libraries():
                if trial := _try(model, provider):
                    trials.append(trial)
    for name in names:
        tried = [trial for trial in trials if trial.model == name]
        nowhere = all(trial.report is None for trial in tried)
        if tried and nowhere and (version is not None or tried[0].provider == NATIVE):
            problems.append(f"{name} runs nowhere: {tried[-1].problem}")
    return NetworkHealth(
        runtime=version,
        providers=providers,
        gpu=gpu,
        models=names,
        trials=tuple(trials),
        problems=tuple(problems),
    )


def _try(model: Manifest, provider: str) -> Trial | None:
    """Time a network on a provider; None where the kernels do not know its graph."""
    rate = min(max(SAMPLE_RATE, model.sample_rates[0]), model.sample_rates[1])
    shape = NetworkShape(model.bins(rate), model.frames(rate))
    run: Callable[[], object]
    try:
        if provider == NATIVE:
            begin_s = time.perf_counter()
            if (found := planned(model, rate)) is None:
                return None
            signature = network_signature(model, shape)
            sizes = (*(size for _, size in signature.inputs), signature.output[1])
            run = partial(KernelNetwork(found).run, *(np.zeros(size, np.float32) for size in sizes))
            middle_s = time.perf_counter()
            run()
            report = SessionReport(model=model.name, provider=NATIVE)
            report.load_ms = 1e3 * (middle_s - begin_s)
            report.warm_up_ms = 1e3 * (time.perf_counter() - middle_s)
        else:
            network = open_network(model, shape, providers=provider)
            run, report = network.keep_warm, network.report
    except PlcError as error:
        return Trial(model=model.name, provider=provider, report=None, problem=in_a_line(error))
    run_ms = 1e3 * min(timeit.repeat(run, number=1, repeat=10))
    return Trial(model=model.name, provider=provider, report=report, run_ms=run_ms)


def network_facts(health: NetworkHealth) -> list[tuple[str, str]]:
    """Return the findings as lines for people, one for each provider."""
    lines = [
        ("ONNX Runtime", health.runtime or "not installed"),
        ("GPU", health.gpu or "none that nvidia-smi knows"),
        ("networks", _verdict(health)),
    ]
    lines += [(f"on {name}", _on_provider(health, name)) for name in health.providers]
    if health.gpu and "tensorrt" in health.providers:
        lines.append(("engine cache", str(health.cache / "tensorrt")))
    return lines


def _verdict(health: NetworkHealth) -> str:
    models = list(dict.fromkeys(trial.model for trial in health.trials))
    if not models:
        return "none in the package"
    serving = {
        model: next(
            (t.provider for t in health.trials if t.model == model and t.report is not None), ""
        )
        for model in models
    }
    used = [name for name in health.providers if name in serving.values()]
    counts = [f"{list(serving.values()).count(name)} of {len(models)} on {name}" for name in used]
    nowhere = [model for model in models if not serving[model]]
    if nowhere:
        counts.append(f"{len(nowhere)} of {len(models)} nowhere: {', '.join(nowhere)}")
    return "; ".join(counts)


def _on_provider(health: NetworkHealth, provider: str) -> str:
    trials = [trial for trial in health.trials if trial.provider == provider]
    works = [trial for trial in trials if trial.report is not None]
    if not trials:
        return "nothing to try"
    if not works:
        return f"none of {len(trials)}: {_remedy(health, provider, trials)}"
    times = ", ".join(f"{trial.model} {trial.run_ms:.2f}{_extras(trial)}" for trial in works)
    failed = [trial.model for trial in trials if trial.report is None]
    but = f"; not {', '.join(failed)}: {_reason(trials, provider)}" if failed else ""
    return f"{len(works)} of {len(trials)}, ms a gap: {times}{but}"


def _extras(trial: Trial) -> str:
    assert trial.report is not None
    graph = ["CUDA graphs"] if trial.report.cuda_graph else []
    extras = "; ".join([*graph, *trial.report.notes])
    return f" ({_shortened(extras)})" if extras else ""


def _remedy(health: NetworkHealth, provider: str, trials: Sequence[Trial]) -> str:
    if provider == "cpu":
        return _reason(trials, provider)
    if not health.gpu:
        return (
            "no NVIDIA GPU; install its driver where there is one, "
            f"else in place of onnxruntime-gpu: {install_command('cpu')}"
        )
    packages = _PACKAGES.get(provider, "")
    return f"{_reason(trials, provider)}{f'; {packages}' if packages else ''}"


def _reason(trials: Sequence[Trial], provider: str) -> str:
    """Return the first trial's problem, without the part common to all."""
    problem = next(trial.problem for trial in trials if trial.report is None)
    _, _, own = problem.partition(f" {provider}: ")
    return _shortened((own or problem).removesuffix(f"; {TELLS}"))


def _shortened(text: str) -> str:
    """Return one line of a message: without the places in ONNX Runtime's sources it names."""
    plain = " ".join(
        re.sub(r"\S*/\S+\.(?:cc|cpp|h):\d+\s*(?:\S+ \S+\([^)]*\))?", " ", text).split()
    )
    return plain if len(plain) <= _REASON_CHARACTERS else plain[: _REASON_CHARACTERS - 1] + "…"
