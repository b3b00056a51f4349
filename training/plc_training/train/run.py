"""A run of a recipe, from audio files to the best weights.

The run's folder is sufficient to export and, with the library, to continue::

    recipe.toml         text of the recipe
    run.json            sources and numbers of segments
    last.safetensors    last checkpoint                 best.safetensors    best weights
    log.jsonl           validations                     tensorboard/        curves
    probe.npz           some validation segments, for the tests of the export
    training.lock       held by a running training
"""

import hashlib
import json
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, fields
from fnmatch import fnmatchcase
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from filelock import FileLock, Timeout
from lightning_fabric import Fabric
from torch import nn

from plc.engine.models.catalogue import find
from plc.engine.runtime.shared import read_weights
from plc.errors import ConfigError
from plc.jsonable import to_json
from plc_training.data.library import SPLITS, Clip, Decoded, find_libraries, sources_of, together
from plc_training.data.segments import DOMAINS, Segments, prepare_segments
from plc_training.networks.onnx_graph import load_onnx
from plc_training.tasks.base import Task
from plc_training.train.checkpoint import load_mean, read_progress
from plc_training.train.display import Display, decode_shown
from plc_training.train.journal import Journal
from plc_training.train.loop import (
    BEST,
    CHECKPOINT,
    Ending,
    affordable_precision,
    open_devices,
    train,
)
from plc_training.train.recipe import MODEL_PREFIX, Recipe, parse_recipe

TaskOf = TypeVar("TaskOf", bound=Task)

RECIPE = "recipe.toml"
FACTS = "run.json"
PROBE = "probe.npz"
_PROBE_SEGMENTS = 48
_LOCK = "training.lock"


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Paths and processes of a run.

    Attributes
    ----------
    data : tuple of Path, the libraries
    folder : Path, folder of the run
    cache : Path
        Folder for decoded clips and segments, shared by all runs.
    jobs : int
        Processes that decode and prepare.
    domain : str
        Domain of clips in libraries without a manifest.
    """

    data: tuple[Path, ...]
    folder: Path
    cache: Path
    jobs: int = 1
    domain: str = "any"


def run_recipe(
    recipe: Recipe, place: Place, devices: int = 1, accelerator: str = "auto"
) -> Ending | None:
    """Start or continue a run; return its ending in the first process.

    Raises
    ------
    ConfigError
        If the library gives no segments, the folder holds another run or is in use by another
        training, or the training fails.
    """
    # Denormal numbers are up to a hundred times slower on a CPU.
    torch.set_flush_denormal(True)
    precision, why = affordable_precision(recipe.schedule.precision, accelerator)
    fabric = open_devices(devices, accelerator, precision)
    display = Display(quiet=not fabric.is_global_zero)
    if precision != recipe.schedule.precision:
        display.say(f"training in {precision}, not {recipe.schedule.precision}: {why}")
    # The first process prepares, the others read what it made.
    made = prepare(recipe, place, display) if fabric.is_global_zero else None
    fabric.barrier()
    prepared = made or prepare(recipe, place, display)
    folder = place.folder
    fingerprint = _fingerprint(recipe, (prepared.train, prepared.valid))
    task = recipe.make_task(prepared.train, prepared.valid)
    with _alone(folder, fabric):
        begun = read_progress(folder / CHECKPOINT).step if (folder / CHECKPOINT).exists() else 0
        if fabric.is_global_zero:
            _open_folder(recipe, place, prepared, fingerprint)
            _announce(display, recipe, folder, begun)
        with ExitStack() as stack:
            told = [stack.enter_context(display.training(begun, recipe.schedule.steps))]
            if fabric.is_global_zero:
                told.insert(0, stack.enter_context(Journal(folder, begun)).note)
            stop = stack.enter_context(stop_on_signals(display))
            begin = _beginning(recipe, folder, task)
            schedule, should_stop = recipe.schedule, stop.is_set
            ending = train(task, schedule, folder, fingerprint, told, fabric, begin, should_stop)
    return ending if fabric.is_global_zero else None


def read_run(folder: Path) -> tuple[Recipe, dict[str, Any], Segments]:
    """Return the recipe, facts and probe of a run.

    Raises
    ------
    ConfigError
        If the folder does not hold a run.
    """
    try:
        text = (folder / RECIPE).read_text(encoding="utf-8")
        facts = json.loads((folder / FACTS).read_text(encoding="utf-8"))
        with np.load(folder / PROBE) as probe:
            names = [each.name for each in fields(Segments) if each.name in probe]
            segments = Segments(**{name: probe[name] for name in names})
        recipe = parse_recipe(text, facts["recipe"], str(folder / RECIPE))
        return recipe.with_steps(facts["steps"]), facts, segments
    except (OSError, ValueError, KeyError) as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(f"{folder} holds no run of plc train: {error}") from error


def open_best(folder: Path, task_type: type[TaskOf]) -> tuple[TaskOf, nn.Module]:
    """Return a run's task and its best network, ready to judge.

    Raises
    ------
    ConfigError
        If the folder holds no run of that task, or no best weights yet.
    """
    recipe, _, probe = read_run(folder)
    task = recipe.make_task(probe, probe)
    if not isinstance(task, task_type):
        raise ConfigError(
            f"{folder} holds a run of {recipe.task.kind}; expected one of the task {task_type.kind}"
        )
    network = task.make_network()
    load_mean(folder / BEST, network)
    return task, network.eval()


class Prepared(NamedTuple):
    """Segments to train and to validate with, and the licences of the clips to train by source."""

    train: Segments
    valid: Segments
    sources: dict[str, str]


def prepare(recipe: Recipe, place: Place, display: Display) -> Prepared:
    """Return the segments of a run, from the cache if possible.

    Raises
    ------
    ConfigError
        If a split has no clip, or its clips give no segment.
    MissingExtraError
        If a program that the task needs is not installed.
    """
    recipe.task_type.require()
    libraries = find_libraries(place.data, place.domain)
    found = [clip for library in libraries for clip in library]
    clips = _wanted(recipe, found, " and ".join(map(str, place.data)))
    decoded = decode_shown(clips, recipe.train.sample_rate, place.cache, place.jobs, display)
    made = [_segments(recipe, split, decoded, place, display) for split in SPLITS]
    domains = recipe.task_type.domains(recipe.train)
    heard = [clip for clip in clips if clip.split == "train" and clip.domain in domains]
    return Prepared(made[0], few(made[1], recipe.task.valid_segments), sources_of(heard))


def few(segments: Segments, most: int) -> Segments:
    """Return at most ``most`` segments, balanced over domains; 0: all."""
    if not most or segments.gaps.size <= most:
        return segments
    rng = np.random.default_rng(0)
    # The first of each domain, the second of each, and so on.
    order = rng.permutation(segments.gaps.size)
    turns = np.empty(order.size, np.int64)
    for domain in np.unique(segments.domains):
        members = np.flatnonzero(segments.domains[order] == domain)
        turns[members] = np.arange(members.size)
    chosen = np.sort(order[np.argsort(turns, kind="stable")[:most]])
    parts = {each.name: getattr(segments, each.name) for each in fields(Segments)}
    return Segments(**{name: part[chosen] if part.size else part for name, part in parts.items()})


_status = 128 + signal.SIGINT


def stopped_status() -> int:
    """Return the exit status of a stopped run, as in a shell: 128 and the signal's number."""
    return _status


@contextmanager
def stop_on_signals(display: Display) -> Iterator[threading.Event]:
    """Yield an event that Ctrl-C and SIGTERM set; a second signal raises."""
    stop = threading.Event()

    def ask(number: int, frame: FrameType | None) -> None:
        global _status
        _status = 128 + number
        if stop.is_set():
            raise KeyboardInterrupt if number == signal.SIGINT else SystemExit(_status)
        stop.set()
        display.say("stopping after this step, with a checkpoint; once more to stop at once")

    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _wanted(recipe: Recipe, clips: list[Clip], data: str) -> list[Clip]:
    plans = recipe.train, recipe.valid
    domains = {name for plan in plans for name in recipe.task_type.domains(plan)}
    wanted = [
        clip
        for clip in clips
        if clip.domain in domains
        and clip.top_hz >= recipe.task.source_top_hz
        and not any(fnmatchcase(clip.path.name, pattern) for pattern in recipe.task.leave_out)
    ]
    for split in SPLITS:
        if not any(clip.split == split for clip in wanted):
            found = sorted({clip.domain for clip in clips if clip.split == split})
            raise ConfigError(
                f"{data} holds nothing to {split} with: the recipe wants the domains "
                f"{', '.join(sorted(domains))}, the library has {', '.join(found) or 'none'}; "
                "--domain says what the files of a folder without a manifest.csv are"
            )
    return wanted


def _segments(
    recipe: Recipe, split: str, decoded: Sequence[Decoded], place: Place, display: Display
) -> Segments:
    plan = recipe.train if split == "train" else recipe.valid
    clips = [each for each in decoded if each.clip.split == split]
    if not clips:
        raise ConfigError(f"no clip to {split} with could be decoded")
    with display.stage(f"segments to {split}", len(clips)) as advance:
        segments, failures = prepare_segments(
            plan, clips, place.cache / "segments", place.jobs, advance
        )
    display.failures(failures)
    counts = ", ".join(f"{count} of {name}" for name, count in domain_counts(segments).items())
    display.say(f"segments to {split}: {counts}")
    return segments


def domain_counts(segments: Segments) -> dict[str, int]:
    """Return the number of segments of each domain, without zeros."""
    counts = np.bincount(segments.domains, minlength=len(DOMAINS))
    return {name: int(n) for name, n in zip(DOMAINS, counts, strict=True) if n}


def _fingerprint(recipe: Recipe, segments: Sequence[Segments]) -> str:
    digest = hashlib.sha256(recipe.fingerprint().encode())
    for values in (values for part in segments for values in (part.gaps, part.domains)):
        digest.update(values.astype("<i8").tobytes())
    return digest.hexdigest()[:16]


@contextmanager
def _alone(folder: Path, fabric: Fabric) -> Iterator[None]:
    """Lock the folder against other trainings."""
    if not fabric.is_global_zero:
        yield
        return
    folder.mkdir(parents=True, exist_ok=True)
    try:
        lock = FileLock(folder / _LOCK).acquire(timeout=0)
    except Timeout as error:
        raise ConfigError(
            f"another training is at work in {folder}; wait for its end, or name another folder "
            "with --out"
        ) from error
    with lock:
        yield


def _open_folder(recipe: Recipe, place: Place, prepared: Prepared, fingerprint: str) -> None:
    """Write recipe, facts and probe, unless the folder holds another run."""
    folder = place.folder
    last = folder / CHECKPOINT
    if last.exists() and read_progress(last).fingerprint != fingerprint:
        raise ConfigError(
            f"{folder} holds a run of another recipe or of other data; name another folder "
            "with --out"
        )
    after, earlier = _before(recipe, folder)
    facts = {
        "recipe": recipe.name,
        "steps": recipe.schedule.steps,
        "seed": recipe.schedule.seed,
        "after": after,
        "library": " + ".join(folder.resolve().name for folder in place.data),
        "sources": together(earlier, prepared.sources),
        "segments": domain_counts(prepared.train),
        "valid_segments": domain_counts(prepared.valid),
    }
    (folder / RECIPE).write_text(recipe.text, encoding="utf-8")
    (folder / FACTS).write_text(to_json(facts) + "\n", encoding="utf-8")
    probe = few(prepared.valid, _PROBE_SEGMENTS)
    np.savez_compressed(folder / PROBE, **asdict(probe))


def _before(recipe: Recipe, folder: Path) -> tuple[list[str], dict[str, str]]:
    """Return the earlier trainings of the initial weights, and their sources."""
    name = recipe.task.begin_from
    if not name:
        return [], {}
    if name.startswith(MODEL_PREFIX):
        facts = dict(find(name.removeprefix(MODEL_PREFIX)).training)
    else:
        path = folder.parent / name / FACTS
        facts = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        best = path.with_name(BEST)
        facts["step"] = read_progress(best).step if best.exists() else "?"
    unknown = {f"what {name} has heard": "not recorded"}
    last = f"{facts.get('recipe', name)}, {facts.get('step', '?')} steps"
    return [*facts.get("after", []), last], dict(facts.get("sources", unknown))


def _announce(display: Display, recipe: Recipe, folder: Path, begun: int) -> None:
    steps = recipe.schedule.steps
    if begun >= steps:
        display.say(f"{folder}: all {steps} steps were done before")
    elif begun:
        display.say(f"{folder}: going on at step {begun} of {steps}")
    else:
        display.say(
            f"{folder}: {steps} steps; Ctrl-C stops, the same command goes on where it stopped"
        )


def _beginning(recipe: Recipe, folder: Path, task: Task) -> Callable[[nn.Module], object] | None:
    """Return a call that loads the recipe's initial weights, or None."""
    name = recipe.task.begin_from
    if not name or (folder / CHECKPOINT).exists():
        return None
    if name.startswith(MODEL_PREFIX):
        manifest = find(name.removeprefix(MODEL_PREFIX))
        data = read_weights(manifest)
        return lambda network: load_onnx(data, network, str(manifest.onnx_path))
    path = folder.parent / name / BEST
    if not path.exists():
        raise ConfigError(
            f"{recipe.name} begins from {name}, but there is no {path}; run plc train {name} first"
        )
    return lambda network: _load_best(path, network, task)


def _load_best(path: Path, network: nn.Module, task: Task) -> None:
    """Load a run's best weights into a network.

    Where it has more parts, into the one that is exported: one trained alone goes on with critics.
    """
    try:
        load_mean(path, network)
    except ConfigError:
        part = task.exported(network)
        if part is network:
            raise
        load_mean(path, part)
