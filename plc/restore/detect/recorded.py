"""Detection of damage in audio files, and its labels."""

import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from plc import notice
from plc.errors import AudioFileError
from plc.files.audio import AudioReader, Progress
from plc.files.fill.gaps import Stretch
from plc.files.marks import label
from plc.restore.detect.findings import EVERYTHING, KINDS, Finding, Selection
from plc.restore.detect.plausible import weigh
from plc.restore.detect.search import Detector
from plc.whole_files import write_whole


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectReport:
    """Result of :func:`detect_file`.

    Attributes
    ----------
    samples, sample_rate, channels : int, of the recording
    findings : tuple of Finding, in order of their start
    elapsed_s : float, reading included
    left_out : int, findings that were not asked for
    refusal : str, why its damage is not filled: most of it cannot be decoded; else empty
    """

    samples: int
    sample_rate: int
    channels: int
    findings: tuple[Finding, ...]
    elapsed_s: float
    left_out: int = 0
    refusal: str = ""

    @property
    def duration_s(self) -> float:
        """Length of the recording."""
        return self.samples / self.sample_rate

    @property
    def damage(self) -> tuple[Finding, ...]:
        """The findings that are not doubtful."""
        return tuple(each for each in self.findings if not each.doubt)

    @property
    def gaps_s(self) -> list[Stretch]:
        """The damage as gaps, as :func:`plc.files.recordings.inpaint_file` takes them.

        It is an AudioFileError if they are not filled.
        """
        if self.refusal:
            raise AudioFileError(self.refusal)
        return [gap for each in self.damage for gap in self._stretches(each)]

    def _stretches(self, finding: Finding) -> Iterator[Stretch]:
        rate, everywhere = self.sample_rate, finding.channels == tuple(range(self.channels))
        for start, stop in finding.gaps:
            span = start / rate, stop / rate
            yield span if everywhere else (*span, finding.channels)

    @property
    def doubtful(self) -> tuple[Finding, ...]:
        """The findings that are reported only."""
        return tuple(each for each in self.findings if each.doubt)

    def counts(self) -> dict[str, int]:
        """Return the number of findings of each kind that was found."""
        kinds = [each.kind for each in self.findings]
        return {kind: kinds.count(kind) for kind in KINDS if kind in kinds}

    def as_dict(self) -> dict[str, Any]:
        """Return everything by name, for JSON; each finding in seconds, too."""
        rate = self.sample_rate
        told = [
            {"start_s": each.start / rate, "stop_s": each.stop / rate, **asdict(each)}
            for each in self.findings
        ]
        return {
            "samples": self.samples,
            "sample_rate": self.sample_rate,
            "channels": self.channels,
            "duration_s": self.duration_s,
            "counts": self.counts(),
            "findings": told,
            "left_out": self.left_out,
            "elapsed_s": self.elapsed_s,
        }


def detect_file(
    source: str | Path, *, selection: Selection = EVERYTHING, progress: Progress | None = None
) -> DetectReport:
    """Find the damage of a recording.

    Parameters
    ----------
    source : str or Path, audio file of any length; half a minute of it is in memory
    selection : Selection, what is asked for; the rest is counted
    progress : callable, optional, called after each second

    Returns
    -------
    DetectReport, what was found
    """
    start_s = time.perf_counter()
    samples = 0
    found: list[Finding] = []
    with AudioReader(source) as reader:
        detector = Detector(reader.sample_rate, reader.channels)
        for block in reader.stream(reader.sample_rate):
            found += detector.push(block)
            samples += len(block)
            if progress is not None:
                progress(samples, reader.expected_samples)
        found += detector.flush()
        weighed = weigh(found, samples, reader.sample_rate)
        asked = selection.of(weighed, reader.sample_rate)
        if reader.film and reader.film.adts:
            notice.tell_once(
                f"{source}: AAC in ADTS counts no frames: where one is absent, and no byte of it "
                "is left, nothing says so"
            )
        return DetectReport(
            samples=samples,
            sample_rate=reader.sample_rate,
            channels=reader.channels,
            findings=asked,
            left_out=len(weighed) - len(asked),
            refusal=reader.refusal(reader.undecoded, samples),
            elapsed_s=time.perf_counter() - start_s,
        )


def channels_of(finding: Finding, channels: int) -> str:
    """Return a finding's channels as people count them: ``all``, or ``1,2``."""
    return ",".join(str(channel + 1) for channel in finding.among(channels)) or "all"


def labels_of(finding: Finding, sample_rate: int, channels: int) -> Iterator[str]:
    """Yield a label of Audacity for each gap of a finding.

    Its text ends in the channels, ``[1]``, where not all ``channels`` of the recording are damaged.
    A doubtful one is marked, with the reason.
    """
    text, some = f"{finding.kind} {finding.confidence:.2f}", finding.among(channels)
    for start, stop in finding.gaps:
        yield label(start / sample_rate, stop / sample_rate, text, finding.doubt, some)


def write_labels(path: str | Path, report: DetectReport, overwrite: bool = True) -> None:
    """Write findings as labels of Audacity (File, Import, Labels).

    Parameters
    ----------
    path : str or Path
        A text file: a line ``start TAB stop TAB kind and confidence`` in seconds for each finding,
        with its channels, counted from 1, where not all are damaged. Doubtful ones are marked.
    report : DetectReport, the findings
    overwrite : bool, whether a file that is there is replaced

    Raises
    ------
    AudioFileError
        If it cannot be written, or is there and may not be replaced.
    """
    rate = report.sample_rate
    lines = [line for each in report.findings for line in labels_of(each, rate, report.channels)]
    write_whole(Path(path), "".join(lines).encode(), overwrite)
