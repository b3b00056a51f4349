"""Repair many recordings: find their damage, fill it, and keep book.

Every recording is one job of one worker. Below the target lies a record of each::

    OUT/NAME                       the repaired recording, or a copy of a sound one
    OUT/.plc-repair/NAME.json      what was found and done, of which source, by which settings

A record says "begun" before the result is written and the outcome behind it. A run that was
interrupted is gone on with by the same command: what has an outcome of the same source and settings
is left as it is, all other recordings are done. A result that no record knows, or that was changed
since it was written, is not touched (:mod:`plc.restore.records`), and a recording never.
"""

import contextlib
import hashlib
import json
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from operator import attrgetter
from pathlib import Path, PurePosixPath
from typing import Any

from plc import notice
from plc.errors import AudioFileError, ConfigError, PlcError, in_a_line, why
from plc.files.audio import AudioReader, count_samples
from plc.files.cluster import as_done_on
from plc.files.fill.copied import LongGap
from plc.files.fill.gaps import Hole, spans_in_samples
from plc.files.fill.signals import FillSettings
from plc.files.jobs import is_recording, other_names, results_of
from plc.files.marks import ZippedLabels, label_of, read_gaps
from plc.files.parallel import Failure
from plc.files.recordings import Repaired, inpaint_file
from plc.files.scratch import scratch
from plc.restore.detect.findings import EVERYTHING, Finding, Selection
from plc.restore.detect.recorded import DetectReport, detect_file
from plc.restore.folders import OWN, Entry, Folder, Place, labels_at, place, same
from plc.restore.records import ABOUT, LOCK, Keeper, made_of, read_record
from plc.whole_files import folded

REPAIRED, SOUND, FAILED = "repaired", "sound", "failed"
DOUBTFUL, LEFT_OUT, NOT_LOOKED_AT = "doubtful", "left out", "not looked at"
STATES = (REPAIRED, SOUND, DOUBTFUL, LEFT_OUT, NOT_LOOKED_AT, FAILED)
# Those of outcomes that are not made anew.
_KEPT = (REPAIRED, SOUND, DOUBTFUL, LEFT_OUT, NOT_LOOKED_AT)
# What a finding is called that labels have.
_LABEL = "label"
# Settings that every key has; of later ones, only what is given.
_FIRST_SETTINGS = ("gaps", "quality", "method", "model", "bitrate")
# Where a result lies before it is stored.
_MADE = "made"


@dataclass(frozen=True, slots=True, kw_only=True)
class RepairSettings:
    """Settings of the repair of recordings.

    Attributes
    ----------
    gaps : str or None
        Folder, zip file or URL with the damage of each recording, as :mod:`plc.restore.folders`
        says. None for what the detector finds.
    selection : Selection, what of it is filled
    quality, method, model, content : as of :func:`plc.files.recordings.inpaint_file`
    bitrate : int or None, in bit/s, where the coding has one
    """

    gaps: str | None = None
    selection: Selection = EVERYTHING
    quality: str = "good"
    method: str = "auto"
    model: str = "auto"
    content: Any = "auto"
    bitrate: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A recording to be repaired.

    Attributes
    ----------
    source, target, name : str, the places, and its path below the source
    result : str, path of what it becomes if it is damaged
    others : tuple of str, further paths that the result of an earlier run may have
    stamp, labels : str
        What changes when the recording does, and when its labels do; no labels, an empty text.
    settings : RepairSettings, how
    overwrite : bool, as of :func:`run_repair`
    """

    source: str
    target: str
    name: str
    result: str
    others: tuple[str, ...]
    stamp: str
    labels: str
    settings: RepairSettings
    overwrite: bool

    @property
    def key(self) -> str:
        """Identify source, labels and settings."""
        plain = asdict(RepairSettings())
        given = {
            name: value
            for name, value in asdict(self.settings).items()
            if name in _FIRST_SETTINGS or value != plain[name]
        }
        parts = [self.stamp, given, *([self.labels] if self.labels else [])]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """Result of one recording.

    Attributes
    ----------
    name : str, its path below the source
    result : str, that of the result below the target; empty if there is none
    state : str
        One of ``STATES``: filled; nothing to fill; only doubtful places; only places that the
        selection leaves out; no labels of it where labels were asked for; or a failure. All but
        the first and the last are copied.
    sample_rate, channels, samples : int, of the recording
    gaps : tuple of (int, int), what was filled, in samples
    found : tuple of str, the kind of each place that is filled
    findings : tuple of Finding, these, and the doubtful ones
    long_gaps : tuple of LongGap, what filled the gaps that are long, and from where
    elapsed_s, processor_s : float, what it took: time, and time of processors
    left_out : int, places that the selection leaves out
    reason : str, why it failed
    before : bool, whether an earlier run did it
    """

    name: str
    state: str
    result: str = ""
    sample_rate: int = 1
    channels: int = 0
    samples: int = 0
    gaps: tuple[tuple[int, int], ...] = ()
    found: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()
    long_gaps: tuple[LongGap, ...] = ()
    elapsed_s: float = 0.0
    processor_s: float = 0.0
    left_out: int = 0
    reason: str = ""
    before: bool = False

    @property
    def duration_s(self) -> float:
        """Length of the recording."""
        return self.samples / self.sample_rate


@dataclass(frozen=True, slots=True, kw_only=True)
class RepairReport:
    """Result of :func:`run_repair`; of a dry run, the planned results."""

    source: str
    target: str
    elapsed_s: float
    outcomes: tuple[Outcome, ...] = field(default=())
    dry_run: bool = False

    def count(self, state: str) -> int:
        """Return the number of recordings in a state."""
        return sum(each.state == state for each in self.outcomes)

    @property
    def hours_per_core_hour(self) -> float | None:
        """Return hours of audio that one core repairs in an hour.

        Of what this run did; None if that is nothing.
        """
        done = [
            each for each in self.outcomes if each.processor_s and each.samples and not each.before
        ]
        processor_s = sum(each.processor_s for each in done)
        return sum(each.duration_s for each in done) / processor_s if done else None

    def repaired(self) -> list[Repaired]:
        """Return the repaired recordings on this machine, for pictures and pages."""
        return [
            Repaired(
                each.name,
                Path(self.source) / each.name,
                Path(self.target) / each.result,
                each.sample_rate,
                each.gaps,
                each.found,
                tuple(
                    Hole(place.start, place.stop, place.channels)
                    for place in each.findings
                    if not place.doubt
                ),
                each.long_gaps,
            )
            for each in self.outcomes
            if each.state == REPAIRED
        ]

    def as_dict(self) -> dict[str, Any]:
        """Return everything by name, for JSON."""
        return {
            **asdict(self),
            "hours_per_core_hour": self.hours_per_core_hour,
            **{state.replace(" ", "_"): self.count(state) for state in STATES},
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
    dry_run: bool = False,
    anew: bool = False,
    progress: Progress | None = None,
) -> RepairReport:
    """Repair all recordings of a folder or bucket, or one of them.

    Parameters
    ----------
    source, target : str, folders, or URLs that fsspec knows; the source may be one recording
    settings : RepairSettings, how
    workers : int, processes here; those of a cluster that Ray starts here
    ray : str, optional, address of a Ray cluster, as :mod:`plc.files.cluster` takes it
    overwrite : bool, whether results that are there, and known to no record, may be replaced
    dry_run : bool, whether to look only: nothing is written below the target
    anew : bool, whether to look at what an earlier run did, too; of a dry run
    progress : callable, optional, called after each recording

    Returns
    -------
    RepairReport
        What became of each recording, in order of their names.

    Raises
    ------
    AudioFileError
        If the source holds no recordings, the target is a file, or another run works on it.
    ConfigError
        If source and target are the same place.
    """
    start_s = time.perf_counter()
    sources, targets = place(source), place(target)
    if same(sources, targets):
        raise ConfigError(f"{source} is source and target; name another folder for the results")
    if isinstance(targets, Folder) and (
        targets.file or (is_recording(targets.path) and not targets.path.exists())
    ):
        raise AudioFileError(
            f"{target} is a file; name a folder for the results (plc inpaint makes one file of one)"
        )
    source = sources.url
    labels = None if settings.gaps is None else labels_at(settings.gaps)
    listing = sources.recordings(targets)
    if not listing.entries and not listing.refused:
        raise AudioFileError(f"{source} holds no recordings")
    folds = targets.folds_case()
    results = results_of([entry.name for entry in listing.entries], folds)
    taken = set(map(folded if folds else str, [*results, *results.values()]))
    jobs = [
        Job(
            source=source,
            target=target,
            name=entry.name,
            result=results[entry.name],
            others=tuple(
                name
                for name in other_names(entry.name)
                if (folded(name) if folds else name) not in taken
            ),
            stamp=entry.stamp,
            labels="" if labels is None else label_of(labels, entry.name)[1],
            settings=settings,
            overwrite=overwrite,
        )
        for entry in listing.entries
    ]
    refused = dict(listing.refused) | _refused(sources, targets, listing.entries, jobs)
    total = len(jobs) + len(listing.refused)
    work = look if dry_run else repair
    with contextlib.nullcontext() if dry_run else _alone(targets):
        done, waiting = [], []
        for job in jobs:
            if job.name in refused:
                continue
            earlier = _earlier(targets, job)
            if earlier is None or (dry_run and anew):
                # A run would leave what is done: nothing to refuse.
                known = job.overwrite or earlier is not None
                waiting.append(replace(job, overwrite=known) if dry_run else job)
                continue
            done.append(earlier)
            if progress is not None:
                progress(earlier, len(done), total)
        for name, reason in refused.items():
            done.append(Outcome(name=name, state=FAILED, reason=reason))
            if progress is not None:
                progress(done[-1], len(done), total)
        for _, told in as_done_on(ray, work, waiting, workers, attrgetter("name")):
            if isinstance(told, Failure):
                outcome = Outcome(name=told.clip, state=FAILED, reason=told.reason)
            else:
                outcome = told
            done.append(outcome)
            if progress is not None:
                progress(outcome, len(done), total)
    return RepairReport(
        source=source,
        target=target,
        elapsed_s=time.perf_counter() - start_s,
        outcomes=tuple(sorted(done, key=lambda each: each.name)),
        dry_run=dry_run,
    )


def _timed(job: Job) -> Callable[..., Outcome]:
    start_s, processor_s = time.perf_counter(), time.process_time()

    def outcome(**told: Any) -> Outcome:
        return Outcome(
            name=job.name,
            elapsed_s=time.perf_counter() - start_s,
            processor_s=time.process_time() - processor_s,
            **told,
        )

    return outcome


def look(job: Job) -> Outcome:
    """Return the outcome that :func:`repair` would have; write nothing."""
    outcome = _timed(job)
    with notice.renamed():
        try:
            with scratch() as folder:
                keeper = Keeper(place(job.target), job.name, job.key, job.overwrite, folder)
                _, damage, told = _found(job, keeper, folder)
                size = damage.sample_rate, damage.samples, damage.channels
                gaps = spans_in_samples(damage.gaps_s, *size) if damage.gaps_s else ()
                return outcome(**told, gaps=gaps)
        except PlcError as error:
            return outcome(state=FAILED, reason=notice.shown(in_a_line(error)))


def _fetched(files: Place | ZippedLabels, name: str, folder: Path) -> Path:
    path = files.fetch(name, folder)
    if path.is_relative_to(folder):
        notice.rename(path, f"{files.url}/{name}")
    return path


def repair(job: Job) -> Outcome:
    """Repair one recording and keep its record: the work of a worker."""
    outcome = _timed(job)
    targets = place(job.target)
    with notice.renamed():
        try:
            with targets.scratch() as folder:
                keeper = Keeper(targets, job.name, job.key, job.overwrite, folder)
                done = outcome(**_repaired(job, keeper, folder))
                # It was called otherwise where it was sound, or had other neighbours.
                keeper.drop({job.name, job.result, *job.others} - {done.result})
                keeper.note(asdict(done))
                return done
        except PlcError as error:
            return outcome(state=FAILED, reason=notice.shown(in_a_line(error)))


def _found(job: Job, keeper: Keeper, folder: Path) -> tuple[Path, DetectReport, dict[str, Any]]:
    """Return a recording, its damage, and fields of the outcome; raise if its result is foreign."""
    source = _fetched(place(job.source), job.name, folder)
    damage, looked = _damage(job, source, folder)
    result = job.result if damage.gaps_s else job.name
    keeper.check(result)
    return source, damage, {**_told(damage, looked), "result": result}


def _repaired(job: Job, keeper: Keeper, folder: Path) -> dict[str, Any]:
    source, damage, told = _found(job, keeper, folder)
    made = folder / _MADE / PurePosixPath(told["result"]).name
    made.parent.mkdir()
    notice.rename(made, f"{job.target}/{told['result']}")
    if not damage.gaps_s:
        _copy(source, made)
        keeper.store(made, told["result"])
        return told
    asked = job.settings
    settings = FillSettings(asked.quality, asked.method, asked.model, content=asked.content)
    report = inpaint_file(source, made, damage.gaps_s, settings=settings, bitrate=asked.bitrate)
    if report.clipped_samples:
        samples = notice.counted(report.clipped_samples, "sample")
        notice.tell(f"warning: {samples} beyond full scale clipped in {made}")
    keeper.store(made, told["result"])
    return told | {"samples": report.samples, "gaps": report.gaps, "long_gaps": report.long_gaps}


def _told(damage: DetectReport, looked: bool) -> dict[str, Any]:
    """Return fields of the outcome; ``looked``: whether the detector or a person has looked."""
    state = DOUBTFUL if damage.findings else LEFT_OUT if damage.left_out else SOUND
    state = REPAIRED if damage.damage else state
    return {
        "state": state if looked else NOT_LOOKED_AT,
        "sample_rate": damage.sample_rate,
        "channels": damage.channels,
        "samples": damage.samples,
        "found": tuple(each.kind for each in damage.damage),
        "findings": damage.findings,
        "left_out": damage.left_out,
    }


def _damage(job: Job, source: Path, folder: Path) -> tuple[DetectReport, bool]:
    """Return where a recording is damaged: as the detector finds it, or as labels say, if any."""
    if job.settings.gaps is None:
        return detect_file(source, selection=job.settings.selection), True
    with AudioReader(source) as reader:
        rate, channels = reader.sample_rate, reader.channels
    labels = labels_at(job.settings.gaps)
    name, _ = label_of(labels, job.name)
    path = _fetched(labels, name, folder) if name else None
    every, gaps_s = (
        read_gaps(path, rate, may_be_empty=True, doubtful=each) if path else []
        for each in (True, job.settings.selection.doubtful)
    )
    findings = tuple(
        Finding(
            start=round(gap[0] * rate),
            stop=round(gap[1] * rate),
            kind=_LABEL,
            confidence=1.0,
            channels=gap[2] if len(gap) > 2 else tuple(range(channels)),
            doubt="" if gap in gaps_s else "marked so in the labels",
        )
        for gap in every
    )
    found = DetectReport(
        samples=count_samples(source),
        sample_rate=rate,
        channels=channels,
        findings=findings,
        elapsed_s=0.0,
    )
    return found, bool(name)


def _copy(source: Path, made: Path) -> None:
    try:
        shutil.copy2(source, made)
    except OSError as error:
        raise AudioFileError(f"cannot copy {source}: {why(error)}") from error


def _refused(
    sources: Place, targets: Place, entries: Iterable[Entry], jobs: Iterable[Job]
) -> dict[str, str]:
    known: dict[tuple[int, int] | None, str] = {
        entry.identity: entry.name for entry in entries if entry.identity
    }
    nested = sources.holds(targets, "file")
    among: dict[PurePosixPath, bool] = {}
    refused = {}
    for job in jobs:
        folder = PurePosixPath(job.name).parent
        if folder not in among:
            inside = sources.holds(targets, job.name)
            among[folder] = inside and not (nested and targets.holds(targets, job.name))
        if reason := _refusal(job, targets, known, among[folder]):
            refused[job.name] = reason
    return refused


def _refusal(
    job: Job, targets: Place, known: Mapping[tuple[int, int] | None, str], among: bool
) -> str:
    if not job.result:
        return "its result would have the name of another one; rename it"
    if among:
        return f"its result would stand among the recordings of {job.source}; name another folder"
    for result in {job.name: 0, job.result: 0}:
        if (recording := known.get(targets.identity(result))) is not None:
            return (
                f"{job.target}/{result} is the recording {recording} itself, by another name; name "
                "another folder"
            )
    return ""


def _earlier(targets: Place, job: Job) -> Outcome | None:
    """Return an earlier run's outcome with the same source and settings."""
    record = read_record(targets, job.name)
    told = record.outcome
    if record.key != job.key or not isinstance(told, dict):
        return None
    outcome = made_of(Outcome, {**told, "name": job.name, "before": True})
    if outcome is None or outcome.state not in _KEPT or outcome.sample_rate < 1:
        return None
    if not all(0 <= start <= stop <= outcome.samples for start, stop in outcome.gaps):
        return None
    # With other neighbours it has another name.
    here = outcome.result in (job.name, job.result)
    return outcome if here and targets.stamp(outcome.result) else None


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
    with targets.scratch() as folder:
        about = b"Records of plc repair: what was found and done.\n"
        targets.write(f"{OWN}/{ABOUT}", about, folder)
    lock = targets.path / OWN / LOCK
    if lock.is_symlink():
        raise AudioFileError(f"{lock} is a link, where a file of ours should be; remove it")
    with lock.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise AudioFileError(
                f"another plc repair works on {targets.url}; wait for it, or name another folder"
            ) from error
        except OSError as error:
            notice.tell(
                f"{lock} cannot be locked ({why(error)}): see that only one run works there"
            )
        yield
