"""Share of the damage that is found, and false findings: ``plc bench detect damage``.

Each clip is damaged once in a lossless and once in a lossy file, at one of the sample rates;
formats and rates take turns from clip to clip. The same files are also looked at
undamaged: whatever is found there is false.

What a repair would fill counts; what is doubtful is left as it is, and not found.

A finding is true if half of it lies in damage, of whatever kind. Damage is found if true findings
cover half of it. Edges may be 2 ms off, which is what lossy coding smears.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

import plc
from plc.notice import counted
from plc.restore.detect.findings import Finding
from plc_bench.base.corpus import Clip, clip_seed, read_clip
from plc_bench.base.tables import Table
from plc_bench.restore.damage import CONTAINERS, KINDS, OPUS_RATE, Damage, damaged, through

LOSSLESS = ("wav", "float")
SAMPLE_RATES = (44_100, 48_000)
"""In Hz; clips are resampled."""
MARGIN_MS = 2.0
_HALF = 0.5
# Two-sided 95 % of the normal distribution.
_Z = 1.959964


def conditions(number: int) -> list[tuple[str, int]]:
    """Return containers and rates of the clip of a number."""
    rate = SAMPLE_RATES[number % len(SAMPLE_RATES)]
    chosen = []
    for lossless in (True, False):
        group = [each for each in CONTAINERS if (each in LOSSLESS) == lossless]
        if rate != OPUS_RATE:
            group = [each for each in group if each != "opus"]
        chosen.append((group[number // len(SAMPLE_RATES) % len(group)], rate))
    return chosen


@dataclass(frozen=True, slots=True)
class Place:
    """A place of damage, and its findings.

    Attributes
    ----------
    kind, length_ms : as of :class:`~plc_bench.restore.damage.Damage`
    found : bool, whether half of it is covered
    named : bool, whether a finding that covers it is of its kind
    """

    kind: str
    length_ms: float
    found: bool
    named: bool


@dataclass(frozen=True, slots=True)
class FileScores:
    """One file, damaged and undamaged.

    Attributes
    ----------
    clip, domain, container, sample_rate : which file
    seconds : float, its length
    places : tuple of Place, the damage
    findings : tuple of (str, bool)
        Kind of each finding in the damaged file, and whether it is true.
    false : tuple of str, kind of each finding in the undamaged file
    """

    clip: str
    domain: str
    container: str
    sample_rate: int
    seconds: float
    places: tuple[Place, ...]
    findings: tuple[tuple[str, bool], ...]
    false: tuple[str, ...]


def score_clip(item: tuple[int, Clip]) -> list[FileScores]:
    """Return the scores of one clip by its number; several channels are mixed to one."""
    scores = []
    number, clip = item
    for container, rate in conditions(number):
        signal = read_clip(clip.path, rate).signal.mean(axis=1)
        kinds = tuple(each for each in KINDS if each != "invalid" or container == "float")
        seed = clip_seed(f"{clip.name} {container} {rate}")
        broken, damage = damaged(signal, rate, kinds, seed)
        findings = _filled(through(container, broken, rate), rate)
        places = tuple(place_of(each, findings, rate) for each in damage)
        told = tuple((each.kind, is_true(each, damage, rate)) for each in findings)
        false = _filled(through(container, signal, rate), rate)
        seconds = signal.size / rate
        scores.append(
            FileScores(
                clip.name,
                clip.domain,
                container,
                rate,
                seconds,
                places,
                told,
                tuple(each.kind for each in false),
            )
        )
    return scores


def _filled(signal: NDArray[np.float32], sample_rate: int) -> list[Finding]:
    return [each for each in plc.detect(signal, sample_rate=sample_rate) if not each.doubt]


def is_true(finding: Finding, damage: Iterable[Damage], sample_rate: int) -> bool:
    """Say whether half of a finding lies in damage."""
    return is_inside(finding.start, finding.stop, damage, sample_rate)


def is_inside(start: int, stop: int, damage: Iterable[Damage], sample_rate: int) -> bool:
    """Return whether half of a stretch lies in damage."""
    margin = round(MARGIN_MS * sample_rate / 1000)
    inside = sum(
        max(0, min(stop, each.stop + margin) - max(start, each.start - margin)) for each in damage
    )
    return inside >= _HALF * (stop - start)


def covers(start: int, stop: int, damage: Damage, sample_rate: int) -> bool:
    """Return whether a stretch covers damage and little else."""
    margin = round(MARGIN_MS * sample_rate / 1000)
    length = damage.stop - damage.start
    shared = min(stop + margin, damage.stop) - max(start - margin, damage.start)
    return shared >= _HALF * length and stop - start <= 2 * (length + 2 * margin)


def place_of(damage: Damage, findings: Sequence[Finding], sample_rate: int) -> Place:
    """Return how much of one place of damage is found."""
    true = [each for each in findings if is_true(each, [damage], sample_rate)]
    margin = round(MARGIN_MS * sample_rate / 1000)
    covered: NDArray[np.bool_] = np.zeros(damage.stop - damage.start, np.bool_)
    for each in true:
        first = max(0, each.start - margin - damage.start)
        covered[first : max(0, each.stop + margin - damage.start)] = True
    found = bool(covered.mean() >= _HALF)
    named = found and any(each.kind == damage.kind for each in true)
    return Place(damage.kind, damage.length_ms, found, named)


@dataclass(frozen=True, slots=True)
class Share:
    """Share with Wilson's 95 % interval."""

    hits: int
    of: int

    @property
    def value(self) -> float:
        """The share of the whole; NaN where there is nothing."""
        return self.hits / self.of if self.of else math.nan

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's score interval."""
        if not self.of:
            return 0.0, 1.0
        n, p = self.of, self.value
        middle = (p + _Z * _Z / (2 * n)) / (1 + _Z * _Z / n)
        half = _Z * math.sqrt(p * (1 - p) / n + _Z * _Z / (4 * n * n)) / (1 + _Z * _Z / n)
        return max(0.0, middle - half), min(1.0, middle + half)

    def __str__(self) -> str:
        """Return it as a table cell."""
        if not self.of:
            return "-"
        low, high = self.interval
        return f"{self.value:.3f} ({low:.2f}-{high:.2f})"


def share(values: Iterable[bool]) -> Share:
    """Return the share of True."""
    values = list(values)
    return Share(sum(values), len(values))


def result_tables(files: Sequence[FileScores]) -> list[Table]:
    """Return the tables: by kind and length, by container, and false findings."""
    return [_kind_table(files), _container_table(files), _false_table(files)]


def _kind_table(files: Sequence[FileScores]) -> Table:
    places = [place for file in files for place in file.places]
    findings = [each for file in files for each in file.findings]
    table = Table(
        f"Damage found in {counted(len(files), 'file')} of "
        f"{counted(len({file.clip for file in files}), 'clip')} (95 % interval)",
        ("kind", "length", "places", "found", "named rightly", "precision of findings"),
        left=(0, 1),
    )
    for kind in KINDS:
        of_kind = [place for place in places if place.kind == kind]
        if not of_kind:
            continue
        for length in sorted({place.length_ms for place in of_kind}):
            row = [place for place in of_kind if place.length_ms == length]
            table.add(kind, f"{length:g} ms", *_cells(row), "")
        precision = share(true for found, true in findings if found == kind)
        table.add(kind, "all", *_cells(of_kind), str(precision), end=True)
    return table


def _cells(places: list[Place]) -> tuple[str, str, str]:
    named = share(place.named for place in places if place.found)
    return str(len(places)), str(share(place.found for place in places)), str(named)


def _container_table(every: Sequence[FileScores]) -> Table:
    containers = [each for each in CONTAINERS if any(file.container == each for file in every)]
    columns = [heading for each in containers for heading in (f"{each}: found", "precision")]
    table = Table("Found, and precision of findings, by container", ("kind", *columns))
    for kind in KINDS:
        cells = []
        for each in containers:
            files = [file for file in every if file.container == each]
            cells.append(share(p.found for file in files for p in file.places if p.kind == kind))
            cells.append(share(true for file in files for k, true in file.findings if k == kind))
        if any(cell.of for cell in cells):
            table.add(kind, *map(str, cells))
    return table


def _false_table(every: Sequence[FileScores]) -> Table:
    headings = ("domain", "minutes", "false findings", "files with one", "in 10 minutes", "kinds")
    table = Table("Findings in undamaged files", headings, left=(0, -1))
    domains = sorted({file.domain for file in every})
    for domain in (*domains, "all"):
        files = [file for file in every if domain in ("all", file.domain)]
        minutes = sum(file.seconds for file in files) / 60
        false = [kind for file in files for kind in file.false]
        kinds = ", ".join(f"{kind} {false.count(kind)}" for kind in KINDS if kind in false)
        rate = f"{10 * len(false) / minutes:.2f}" if minutes else "-"
        hit = sum(bool(file.false) for file in files)
        table.add(domain, f"{minutes:.1f}", len(false), hit, rate, kinds)
    return table
