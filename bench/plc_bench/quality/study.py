"""A study: every method on every clip under every condition, in memory or in a folder.

The engine has no time limit: scores do not depend on how busy the machine is. A study's folder::

    RESULTS/
      settings.json    the settings, clips and models
      journal.jsonl    a line for each clip, condition and method, written at once
      scores.csv       the same as a table; gaps.csv by length of the gap; failures.csv
      summary.md       means, paired differences, by domain, burst and gap length
      audio/           stretches to listen to (:mod:`plc_bench.quality.excerpts`)

The tables are made from the journal. A stopped run can be resumed: scores in the journal are kept,
failures are tried again. Methods, peers, conditions and clips may be added to a study; any other
change is refused, because its scores would not be comparable.
"""

import hashlib
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from importlib.util import find_spec
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np

import plc
from plc.engine.models.catalogue import available
from plc.errors import ConfigError, why
from plc.files.cluster import as_done_on
from plc.jsonable import to_json
from plc_bench.base.corpus import Clip
from plc_bench.base.rows import OWN_DECODE
from plc_bench.base.workers import Failure, as_done, reason_of
from plc_bench.quality import excerpts
from plc_bench.quality.conditions import Condition
from plc_bench.quality.contenders import CommandPeer, check_methods, contender
from plc_bench.quality.stream import Stream, play, read_stream
from plc_bench.scores import registry as scores
from plc_bench.scores.metrics import Signal

FORMAT = 1
SETTINGS_FILE = "settings.json"
JOURNAL_FILE = "journal.jsonl"
AUDIO_FOLDER = "audio"
# All that says something about music; the scores of speech are asked for by name.
METRICS = (
    *("nmse", "lsd", "mel", "level", "click", "zeros"),
    *("nmse_single", "nmse_30ms", "lsd_single", "lsd_30ms", "mel_single", "mel_30ms"),
)
# Measured for every length of gap.
GAP_METRICS = ("nmse", "lsd")
# Settings that may grow from run to run.
_AXES = ("methods", "peers", "conditions", "clips", "traces")
# Clip, condition and method of a score.
_Key = tuple[str, str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class StudySettings:
    """Settings of a study.

    Attributes
    ----------
    methods : tuple of str
        As :mod:`plc_bench.quality.contenders` names them; the others are compared with the first.
    metrics : tuple of str
        As :mod:`plc_bench.scores.registry` names them.
    peers : mapping from str to CommandPeer
        Programs among the methods, by name.
    sample_rate : int or None
        In Hz; None keeps each clip's own.
    seconds : float or None
        Taken of each clip, from its beginning; None: all.
    excerpt_count : int
        How many stretches of audio are kept.
    """

    methods: tuple[str, ...]
    conditions: tuple[Condition, ...] = (Condition(),)
    metrics: tuple[str, ...] = METRICS
    peers: Mapping[str, CommandPeer] = field(default_factory=dict)
    sample_rate: int | None = None
    seconds: float | None = None
    seed: int = 0
    excerpt_count: int = 30
    excerpt_s: float = excerpts.EXCERPT_S

    def __post_init__(self) -> None:
        """Check the names; the engine checks the rest when it plays."""
        scores.check_metrics(self.metrics)
        if not self.methods or not self.conditions:
            raise ConfigError("a study needs a method and a condition at least")
        check_methods(self.methods, self.peers, self.sample_rate)
        names = [condition.name for condition in self.conditions]
        if len(set(names)) < len(names):
            raise ConfigError(f"two conditions are the same: {', '.join(names)}")


@dataclass(frozen=True, slots=True)
class ClipGapScores:
    """Scores over the gaps of so many packets, by metric of :data:`GAP_METRICS`."""

    packets: int
    count: int
    scores: dict[str, float]


@dataclass(frozen=True, slots=True)
class Row:
    """One clip under one condition, played by one method.

    ``scores`` are by metric, NaN where one is not defined; ``unchanged`` is a peer's output that is
    its input.
    """

    clip: str
    domain: str
    condition: str
    method: str
    sample_rate: int
    channels: int
    packet_samples: int
    packets: int
    lost: int
    bursts: int
    scores: dict[str, float]
    gaps: tuple[ClipGapScores, ...]
    unchanged: bool = False

    @property
    def packet_ms(self) -> float:
        """Length of a packet."""
        return 1000 * self.packet_samples / self.sample_rate


@dataclass(frozen=True, slots=True)
class Missing:
    """A missing score: clip, condition, method and reason."""

    clip: str
    condition: str
    method: str
    reason: str


@dataclass(frozen=True, slots=True)
class Study:
    """Settings and scores of a study.

    Attributes
    ----------
    folder : Path or None
        Folder that keeps the study; None for a study in memory.
    settings : dict
        As recorded in ``settings.json``.
    rows : list of Row
        In the order of clips, conditions and methods.
    missing : list of Missing
        What failed the last time it was tried.
    """

    folder: Path | None
    settings: dict[str, Any]
    rows: list[Row]
    missing: list[Missing]

    @property
    def name(self) -> str:
        """Name of the folder."""
        return self.folder.name if self.folder else ""

    @property
    def methods(self) -> list[str]:
        """Methods with a score, in order; own decodes follow their codec."""
        scored = {row.method for row in self.rows}
        asked = [
            name for method in self.settings["methods"] for name in (method, method + OWN_DECODE)
        ]
        return [method for method in asked if method in scored]

    @property
    def identity(self) -> str:
        """Identifier of the study; it stays the same as the study grows."""
        fixed = {name: value for name, value in self.settings.items() if name not in _AXES}
        heard = {clip: self.settings["clips"].get(clip) for clip, _ in self.settings["excerpts"]}
        text = json.dumps([fixed, heard], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def conditions(self) -> list[Condition]:
        """Conditions in the order asked for."""
        return [Condition(**condition) for condition in self.settings["conditions"]]


@dataclass(frozen=True, slots=True)
class _Unit:
    """Work of one process: a clip, a condition, and the methods to score."""

    clip: Clip
    condition: Condition
    methods: tuple[str, ...]
    audio: Path | None

    @property
    def name(self) -> str:
        return f"{self.clip.name} {self.condition.name}"


def run(
    folder: Path | None,
    clips: Sequence[Clip],
    settings: StudySettings,
    jobs: int = 1,
    on_start: Callable[[int, int], None] = lambda todo, done: None,
    on_done: Callable[[int], None] = lambda count: None,
    cluster: str | None = None,
) -> Study:
    """Compute the missing scores of a study; return the whole study.

    Parameters
    ----------
    folder : Path or None
        New, or of a study to continue; None keeps the study in memory, without excerpts.
    on_start : callable
        Called with the number of scores to compute, and the number already in the folder.
    on_done : callable
        Called with the number of scores just finished.
    cluster : str or None
        Address of a Ray cluster to use, as :mod:`plc.files.cluster` takes it.

    Raises
    ------
    ConfigError
        If the folder holds another study, or cannot be written; if there is no such cluster.
    MissingExtraError
        If a cluster is asked for and Ray is not installed.
    """
    if folder is None:
        recorded = _plain(_description(clips, replace(settings, excerpt_count=0)))
        known: set[_Key] = set()
    else:
        recorded = _record(folder, clips, settings)
        known = {(row.clip, row.condition, row.method) for row in load(folder).rows}
    units = _units(folder, clips, settings, recorded, known)
    todo = sum(len(unit.methods) for unit in units)
    on_start(todo, len(clips) * len(settings.conditions) * len(settings.methods) - todo)
    entries: list[dict[str, Any]] = []
    with _journal(folder) if folder else nullcontext() as journal:
        for unit, made in _work(units, settings, jobs, cluster):
            entries += made
            if journal:
                journal.write("".join(json.dumps(entry) + "\n" for entry in made))
                journal.flush()
            on_done(len(unit.methods))
    return load(folder) if folder else _study(None, recorded, entries)


def load(folder: Path) -> Study:
    """Return the study in a folder.

    Raises
    ------
    ConfigError
        If it holds none, or one that is damaged.
    """
    return _study(folder, _read_settings(folder), _entries(folder / JOURNAL_FILE))


def _study(
    folder: Path | None, settings: dict[str, Any], entries: Iterable[Mapping[str, Any]]
) -> Study:
    """Return a study of the journal's entries; a score replaces an earlier failure."""
    rows: dict[_Key, Row] = {}
    missing: dict[_Key, Missing] = {}
    order = _order(settings)
    for number, entry in enumerate(entries, start=1):
        try:
            key = (entry["clip"], entry["condition"], entry["method"])
            order(*key)  # the settings name them
            if "reason" in entry:
                missing[key] = Missing(*key, entry["reason"])
            else:
                rows[key] = _row(entry)
                missing.pop(key, None)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            path = (folder or Path()) / JOURNAL_FILE
            raise ConfigError(f"{path}, line {number}, is damaged: {error!r}; remove it") from error
    return Study(
        folder,
        settings,
        sorted(rows.values(), key=lambda row: order(row.clip, row.condition, row.method)),
        sorted(missing.values(), key=lambda one: order(one.clip, one.condition, one.method)),
    )


def audio_folder(folder: Path, clip: str, condition: str) -> Path:
    """Return where the excerpt of a clip under a condition is kept."""
    return folder / AUDIO_FOLDER / excerpts.slug(clip) / excerpts.slug(condition)


def _units(
    folder: Path | None,
    clips: Sequence[Clip],
    settings: StudySettings,
    recorded: Mapping[str, Any],
    known: set[_Key],
) -> list[_Unit]:
    heard = {(clip, condition) for clip, condition in recorded["excerpts"]}
    units = []
    for clip in clips:
        for condition in settings.conditions:
            key = (clip.name, condition.name)
            methods = tuple(name for name in settings.methods if (*key, name) not in known)
            audio = audio_folder(folder, *key) if folder and key in heard else None
            if methods:
                units.append(_Unit(clip, condition, methods, audio))
    return units


def _work(
    units: Sequence[_Unit], settings: StudySettings, jobs: int, cluster: str | None
) -> Iterator[tuple[_Unit, list[dict[str, Any]]]]:
    work = partial(_score, settings=settings)
    done = (
        as_done(work, units, jobs, attrgetter("name"))
        if cluster is None
        else as_done_on(cluster, work, units, jobs, attrgetter("name"))
    )
    for number, result in done:
        unit = units[number]
        if isinstance(result, Failure):
            yield unit, [_failure(unit, method, result.reason) for method in unit.methods]
        else:
            yield unit, result


def _score(unit: _Unit, settings: StudySettings) -> list[dict[str, Any]]:
    """Return the journal's entries for one unit; a method that fails, fails alone."""
    stream = read_stream(
        unit.clip.path, unit.condition, settings.sample_rate, settings.seed, settings.seconds
    )
    entries, played = [], {}
    for method in unit.methods:
        try:
            references, played[method] = _played(method, stream, settings)
            entries += [
                _entry(unit, method + suffix, stream, reference, played[method], settings)
                for suffix, reference in references.items()
            ]
        # A method may fail in any library or program it uses; the others are worth scoring.
        except Exception as error:
            played.pop(method, None)
            entries.append(_failure(unit, method, reason_of(error)))
    if unit.audio is not None and played:
        excerpts.keep(
            unit.audio, unit.clip, unit.condition.name, stream, played, settings.excerpt_s
        )
    return entries


def _played(
    method: str, stream: Stream, settings: StudySettings
) -> tuple[dict[str, Signal], Signal]:
    """Return a method's references by suffix of its name, and its output."""
    player = contender(method, settings.peers, seed=settings.seed)
    references: dict[str, Signal] = {"": stream.signal}
    if player.coded:
        intact = Stream(
            stream.signal, np.zeros_like(stream.trace), stream.packet_samples, stream.sample_rate
        )
        references[OWN_DECODE] = play(player, intact)
    return references, play(player, stream)


def _entry(
    unit: _Unit,
    method: str,
    stream: Stream,
    reference: Signal,
    played: Signal,
    settings: StudySettings,
) -> dict[str, Any]:
    lost, rate = stream.lost_by_class(), stream.sample_rate
    comparison = scores.Comparison(reference, played, lost[""], rate, unit.clip.domain)
    lengths = scores.burst_lengths(stream.trace)
    gaps, peer = [], settings.peers.get(method)
    for length in np.unique(lengths[lengths > 0]):
        mask = {"": np.repeat(lengths == length, stream.packet_samples)}
        values = scores.score(GAP_METRICS, comparison, mask)
        gaps.append(ClipGapScores(int(length), int((lengths == length).sum() // length), values))
    row = Row(
        unit.clip.name,
        unit.clip.domain,
        unit.condition.name,
        method,
        rate,
        stream.signal.shape[1],
        stream.packet_samples,
        stream.trace.size,
        int(stream.trace.sum()),
        sum(gap.count for gap in gaps),
        scores.score(settings.metrics, comparison, lost),
        tuple(gaps),
        peer is not None and stream.is_returned(played, peer.coded),
    )
    return _plain(row)


def _failure(unit: _Unit, method: str, reason: str) -> dict[str, Any]:
    return asdict(Missing(unit.clip.name, unit.condition.name, method, reason))


def _plain(value: Any) -> dict[str, Any]:
    """Return a mapping or a dataclass as JSON would give it back."""
    plain: dict[str, Any] = json.loads(to_json(value))
    return plain


def _row(entry: Mapping[str, Any]) -> Row:
    values = dict(entry)
    values["scores"] = _numbers(entry["scores"])
    values["gaps"] = tuple(
        ClipGapScores(gap["packets"], gap["count"], _numbers(gap["scores"]))
        for gap in entry["gaps"]
    )
    return Row(**values)


def _numbers(values: Mapping[str, float | None]) -> dict[str, float]:
    """Return scores with NaN for null, which JSON has in its place."""
    return {name: math.nan if value is None else value for name, value in values.items()}


def _order(settings: Mapping[str, Any]) -> Callable[[str, str, str], tuple[str, int, int, str]]:
    conditions = [Condition(**condition).name for condition in settings["conditions"]]
    methods = list(settings["methods"])

    def place(clip: str, condition: str, method: str) -> tuple[str, int, int, str]:
        asked = method.removesuffix(OWN_DECODE)
        return clip, conditions.index(condition), methods.index(asked), method

    return place


def _record(folder: Path, clips: Sequence[Clip], settings: StudySettings) -> dict[str, Any]:
    wanted = _plain(_description(clips, settings))
    if (folder / SETTINGS_FILE).exists():
        wanted = _continued(folder, _read_settings(folder), wanted)
    try:
        if not (folder / SETTINGS_FILE).exists() and folder.exists() and any(folder.iterdir()):
            raise ConfigError(f"{folder} is not empty and holds no study; give a new folder")
        folder.mkdir(parents=True, exist_ok=True)
        partial_file = folder / f".{SETTINGS_FILE}.part"
        partial_file.write_text(json.dumps(wanted, indent=1) + "\n", encoding="utf-8")
        partial_file.replace(folder / SETTINGS_FILE)
    except OSError as error:
        raise ConfigError(f"cannot write {folder}: {why(error)}") from error
    return wanted


def _description(clips: Sequence[Clip], settings: StudySettings) -> dict[str, Any]:
    names = [condition.name for condition in settings.conditions]
    traces = [condition.trace for condition in settings.conditions if condition.trace]
    return {
        "format": FORMAT,
        "plc": plc.__version__,
        "models": _models(),
        "methods": settings.methods,
        "peers": {name: asdict(peer) for name, peer in settings.peers.items()},
        "conditions": [asdict(condition) for condition in settings.conditions],
        "metrics": settings.metrics,
        "sample_rate": settings.sample_rate,
        "budget_ms": math.inf,  # the engine may take as long as it wants
        "seed": settings.seed,
        "clips": {
            clip.name: {"domain": clip.domain, "sha256": _digest(clip.path)} for clip in clips
        },
        "traces": {trace: _digest(Path(trace)) for trace in traces},
        "excerpts": excerpts.plan(clips, names, settings.excerpt_count),
        "excerpt_s": settings.excerpt_s,
    } | ({} if settings.seconds is None else {"seconds": settings.seconds})


def _models() -> dict[str, str]:
    """Return the hashes of the networks that ``auto`` chooses among, by name."""
    runtime = find_spec("onnxruntime") is not None
    return {
        manifest.name: manifest.sha256
        for manifest in available()
        if runtime or manifest.kind in ("causal", "bridge")
    }


def _digest(path: Path) -> str | None:
    """Return the SHA-256 of a file, None if it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return None


def _continued(folder: Path, old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """Return the settings of a resumed study: the old ones and additions."""
    merged = {**new, "excerpts": old["excerpts"]}
    scored = {row.clip for row in load(folder).rows}  # another one may be mended
    for name in new:
        if name == "excerpts":
            continue
        if name not in _AXES:
            if old.get(name) != new[name]:
                raise _changed(folder, name, old.get(name), new[name])
        elif isinstance(new[name], dict):
            for key, value in old[name].items():
                unscored = name == "clips" and key not in scored
                if new[name].get(key, value) != value and not unscored:
                    raise _changed(folder, f"{name} {key}", value, new[name][key])
            merged[name] = {**old[name], **new[name]}
        else:
            merged[name] = old[name] + [value for value in new[name] if value not in old[name]]
    if merged["methods"][0] != new["methods"][0]:
        raise _changed(folder, "first method", old["methods"][0], new["methods"][0])
    return merged


def _changed(folder: Path, name: str, old: object, new: object) -> ConfigError:
    return ConfigError(
        f"{folder} holds a study whose {name} is {old}; now it is {new}. Methods, peers, "
        "conditions and clips may be added to a study, nothing else may change: give the same "
        "again, or another folder"
    )


def _read_settings(folder: Path) -> dict[str, Any]:
    path = folder / SETTINGS_FILE
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{folder} holds no study: there is no {SETTINGS_FILE} in it") from None
    except (OSError, ValueError) as error:
        raise ConfigError(f"cannot read {path}: {error}") from error
    if not isinstance(settings, dict) or settings.get("format") != FORMAT:
        raise ConfigError(f"{path} is of another format than {FORMAT}, the one that is read here")
    missing = [name for name in (*_AXES, "metrics", "excerpts") if name not in settings]
    if missing:
        raise ConfigError(f"{path} is damaged: it has no {', '.join(missing)}")
    return settings


def _entries(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the entries of a journal; skip an incomplete last line."""
    if not path.exists():
        return
    lines = path.read_text(encoding="utf-8").split("\n")
    for number, line in enumerate(lines[:-1], start=1):
        try:
            entry = json.loads(line)
        except ValueError as error:
            raise ConfigError(f"{path}, line {number}, is damaged: {error}; remove it") from error
        yield entry


def _journal(folder: Path) -> Any:
    """Open a journal to append to; remove an incomplete last line."""
    path = folder / JOURNAL_FILE
    try:
        if path.exists():
            whole = path.read_bytes().rfind(b"\n") + 1
            with path.open("r+b") as file:
                file.truncate(whole)
        return path.open("a", encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror}") from error
