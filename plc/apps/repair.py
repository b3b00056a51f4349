"""Repair many recordings: find their damage, fill it, and keep book.

Every recording is one job of one worker. Below the target lies a record of each::

    OUT/NAME                       the repaired recording, or a copy of a sound one
    OUT/.plc-repair/NAME.json      what was found and done, of which source, by which settings

A record says "begun" before the result is written and the outcome behind it. A run that was
interrupted is gone on with by the same command: what has an outcome of the same source and settings
is left as it is, all other recordings are done, and a result that no record knows is not touched.
"""

import contextlib
import hashlib
import json
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from plc.apps.cluster import as_done_on
from plc.apps.places import OWN, Folder, Place, place, whereabouts
from plc.apps.repaired import Repaired
from plc.apps.workers import Failure, in_processes
from plc.audio.files import WRITABLE_SUFFIXES, AudioReader, count_samples, remove_leftovers
from plc.errors import AudioFileError, ConfigError, PlcError, in_a_line
from plc.repair.detect.files import detect_file
from plc.repair.marks import read_gaps
from plc.repair.recordings import inpaint_file

REPAIRED, SOUND, FAILED = "repaired", "sound", "failed"
_BEGUN = "begun"
# What a source becomes that cannot be written in its own format.
_OTHER_SUFFIX = ".flac"


@dataclass(frozen=True, slots=True, kw_only=True)
class RepairSettings:
    """How recordings are repaired.

    Attributes
    ----------
    gaps : str or None
        Folder or URL with the damage of each recording, ``NAME.txt``; one without is sound. None
        for what the detector finds.
    quality, method, model
        As of :func:`plc.repair.recordings.inpaint_file`.
    bitrate : int or None
        In bit/s, where the coding has one.
    """

    gaps: str | None = None
    quality: str = "good"
    method: str = "auto"
    model: str = "auto"
    bitrate: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A recording to be repaired."""

    source: str
    target: str
    name: str
    stamp: str
    settings: RepairSettings
    overwrite: bool

    @property
    def key(self) -> str:
        """Identify source and settings."""
        parts = json.dumps([self.stamp, asdict(self.settings)])
        return hashlib.sha256(parts.encode()).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """Result of one recording.

    Attributes
    ----------
    name : str
        Its path below the source.
    result : str
        That of the result below the target; empty if there is none.
    state : str
        ``repaired``, ``sound`` or ``failed``.
    sample_rate, samples : int
        Of the recording.
    gaps : tuple of (int, int)
        What was filled, in samples.
    found : tuple of str
        The kind of each finding.
    elapsed_s, processor_s : float
        What it took: time, and time of processors.
    reason : str
        Why it failed.
    before : bool
        Whether an earlier run did it.
    """

    name: str
    state: str
    result: str = ""
    sample_rate: int = 1
    samples: int = 0
    gaps: tuple[tuple[int, int], ...] = ()
    found: tuple[str, ...] = ()
    elapsed_s: float = 0.0
    processor_s: float = 0.0
    reason: str = ""
    before: bool = False

    @property
    def duration_s(self) -> float:
        """Length of the recording."""
        return self.samples / self.sample_rate


@dataclass(frozen=True, slots=True, kw_only=True)
class RepairReport:
    """Result of :func:`run_repair`."""

    source: str
    target: str
    elapsed_s: float
    outcomes: tuple[Outcome, ...] = field(default=())

    def count(self, state: str) -> int:
        """Return the number of recordings in a state."""
        return sum(each.state == state for each in self.outcomes)

    @property
    def hours_per_core_hour(self) -> float | None:
        """Return hours of audio for an hour of one core.

        Of what this run did; None if that is nothing.
        """
        done = [each for each in self.outcomes if each.processor_s and not each.before]
        processor_s = sum(each.processor_s for each in done)
        return sum(each.duration_s for each in done) / processor_s if done else None

    def repaired(self) -> list[Repaired]:
        """Return what was repaired, for pictures and pages; of places of this machine."""
        return [
            Repaired(
                each.name,
                Path(self.source) / each.name,
                Path(self.target) / each.result,
                each.sample_rate,
                each.gaps,
                each.found,
            )
            for each in self.outcomes
            if each.state == REPAIRED
        ]

    def as_dict(self) -> dict[str, Any]:
        """Return everything by name, for JSON."""
        return {
            **asdict(self),
            "hours_per_core_hour": self.hours_per_core_hour,
            **{state: self.count(state) for state in (REPAIRED, SOUND, FAILED)},
        }


Progress = Callable[[Outcome, int, int], None]
"""Called with an outcome, the number of recordings done, and that of all."""


def run_repair(
    source: str,
    target: str,
    settings: RepairSettings,
    *,
    workers: int = 1,
    ray: str | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> RepairReport:
    """Repair all recordings of a folder or bucket.

    Parameters
    ----------
    source, target : str
        Folders, or URLs that fsspec knows.
    settings : RepairSettings
        How.
    workers : int
        Processes here; those of a cluster that Ray starts here.
    ray : str, optional
        Address of a Ray cluster, as :mod:`plc.apps.cluster` takes it.
    overwrite : bool
        Whether results that are there, and known to no record, may be replaced.
    progress : callable, optional
        Called after each recording.

    Returns
    -------
    RepairReport
        What became of each recording, in order of their names.

    Raises
    ------
    AudioFileError
        If the source holds no recordings, or another run works on the target.
    ConfigError
        If source and target are the same place.
    """
    start_s = time.perf_counter()
    sources, targets = place(source), place(target)
    here, there = whereabouts(source), whereabouts(target)
    if here == there:
        raise ConfigError(f"{source} is source and target; name another folder for the results")
    labels = None if settings.gaps is None else place(settings.gaps)
    if isinstance(labels, Folder) and not labels.path.is_dir():
        raise AudioFileError(f"{settings.gaps} is no folder; name one with NAME.txt of recordings")
    # Where the target lies in the source, results of before are none of its recordings.
    results = there.removeprefix(here)
    entries = [entry for entry in sources.recordings() if not entry.name.startswith(results)]
    if not entries:
        raise AudioFileError(f"{source} holds no recordings")
    _check_names([entry.name for entry in entries])
    jobs = [
        Job(
            source=source,
            target=target,
            name=entry.name,
            stamp=entry.stamp,
            settings=settings,
            overwrite=overwrite,
        )
        for entry in entries
    ]
    with _alone(targets):
        done, waiting = [], []
        for job in jobs:
            earlier = _earlier(targets, job)
            if earlier is None:
                waiting.append(job)
                continue
            done.append(earlier)
            if progress is not None:
                progress(earlier, len(done), len(jobs))
        if ray is None:
            answers = in_processes(repair, waiting, workers, _name)
        else:
            answers = as_done_on(ray, repair, waiting, workers, _name)
        for _, told in answers:
            if isinstance(told, Failure):
                outcome = Outcome(name=told.clip, state=FAILED, reason=told.reason)
            else:
                outcome = told
            done.append(outcome)
            if progress is not None:
                progress(outcome, len(done), len(jobs))
    return RepairReport(
        source=source,
        target=target,
        elapsed_s=time.perf_counter() - start_s,
        outcomes=tuple(sorted(done, key=lambda each: each.name)),
    )


def repair(job: Job) -> Outcome:
    """Repair one recording and keep its record: the work of a worker."""
    start_s, processor_s = time.perf_counter(), time.process_time()
    sources, targets = place(job.source), place(job.target)
    try:
        with tempfile.TemporaryDirectory(prefix="plc-") as folder:
            told = _repaired(job, sources, targets, Path(folder))
    except PlcError as error:
        told = {"state": FAILED, "reason": in_a_line(error)}
    outcome = Outcome(
        name=job.name,
        elapsed_s=time.perf_counter() - start_s,
        processor_s=time.process_time() - processor_s,
        **told,
    )
    if outcome.state != FAILED:
        _note(targets, job, asdict(outcome))
    return outcome


def _repaired(job: Job, sources: Place, targets: Place, folder: Path) -> dict[str, Any]:
    """Find and fill; return the fields of the outcome."""
    known = _record(targets, job.name) is not None
    source = sources.fetch(job.name, folder)
    found_s, kinds = _damage(job, source, folder)
    with AudioReader(source) as reader:
        rate, samples = reader.sample_rate, reader.samples
    result = _result_name(job.name) if found_s else job.name
    if not known and not job.overwrite and targets.exists(result):
        raise AudioFileError(f"{job.target}/{result} exists; give --overwrite, or another folder")
    _note(targets, job, {"state": _BEGUN})
    told: dict[str, Any] = {"result": result, "sample_rate": rate, "found": kinds}
    if not found_s:
        targets.store(source, result)
        length = count_samples(source) if samples is None else samples
        return {**told, "state": SOUND, "samples": length}
    path = targets.work_path(result, folder)
    if known:
        remove_leftovers(path)
    settings = job.settings
    report = inpaint_file(
        source,
        path,
        found_s,
        quality=settings.quality,
        method=settings.method,
        model=settings.model,
        bitrate=settings.bitrate,
    )
    targets.store(path, result)
    return {**told, "state": REPAIRED, "samples": report.samples, "gaps": report.gaps}


def _damage(
    job: Job, source: Path, folder: Path
) -> tuple[list[tuple[float, float]], tuple[str, ...]]:
    """Return where a recording is damaged, in seconds, and of which kind."""
    if job.settings.gaps is None:
        report = detect_file(source)
        return report.gaps_s, tuple(each.kind for each in report.damage)
    labels = place(job.settings.gaps)
    name = PurePosixPath(job.name).with_suffix(".txt").as_posix()
    if not labels.exists(name):
        return [], ()
    with AudioReader(source) as reader:
        rate = reader.sample_rate
    found_s = read_gaps(labels.fetch(name, folder), rate)
    return found_s, ("label",) * len(found_s)


def _name(job: Job) -> str:
    return job.name


def _result_name(name: str) -> str:
    path = PurePosixPath(name)
    if path.suffix.lower() in WRITABLE_SUFFIXES:
        return name
    return path.with_suffix(_OTHER_SUFFIX).as_posix()


def _check_names(names: Sequence[str]) -> None:
    """Refuse recordings whose results would have one name."""
    taken: dict[str, str] = {}
    for name in names:
        other = taken.setdefault(_result_name(name), name)
        if other != name:
            raise ConfigError(f"{other} and {name} would both become {_result_name(name)}")


def _earlier(targets: Place, job: Job) -> Outcome | None:
    """Return what an earlier run did with the same source and settings."""
    record = _record(targets, job.name)
    if record is None or record.get("key") != job.key:
        return None
    told = record["outcome"]
    if told.get("state") == _BEGUN or not targets.exists(told["result"]):
        return None
    gaps = tuple((start, stop) for start, stop in told.pop("gaps"))
    return Outcome(**{**told, "gaps": gaps, "found": tuple(told["found"]), "before": True})


def _record(targets: Place, name: str) -> dict[str, Any] | None:
    data = targets.read(f"{OWN}/{name}.json")
    try:
        record = json.loads(data) if data is not None else None
    except ValueError:
        return None
    return record if isinstance(record, dict) else None


def _note(targets: Place, job: Job, outcome: dict[str, Any]) -> None:
    record = {"key": job.key, "outcome": outcome}
    targets.write(f"{OWN}/{job.name}.json", json.dumps(record).encode())


@contextlib.contextmanager
def _alone(targets: Place) -> Iterator[None]:
    """Keep other runs from a target of this machine; the lock ends with its process."""
    try:
        import fcntl
    except ImportError:  # Windows
        yield
        return
    if not isinstance(targets, Folder):
        yield
        return
    targets.write(f"{OWN}/about", b"Records of plc repair: what was found and done.\n")
    with (targets.path / OWN / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise AudioFileError(
                f"another plc repair works on {targets.url}; wait for it, or name another folder"
            ) from error
        yield
