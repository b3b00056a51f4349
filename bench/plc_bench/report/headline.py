"""The headline: a few studies in one page of small tables, and a picture of each.

``plc bench headline STUDY ... --out OUT`` reads what ``plc bench quality --out`` kept
and writes ``OUT/headline.md`` and a PNG for each study. A table has a row for each method and a
column for each score by domain: PLCMOS, PESQ and STOI for speech, else NMSE, LSD and FAD. The best
method in a column is bold, methods that wait for later packets (a lookahead, NetEq) aside.

A codec is marked and compared with its own loss-free decode. Its PLCMOS has no reference, and
includes the loss by coding.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from plc.errors import ConfigError
from plc.notice import counted
from plc_bench.base.compare import summarise
from plc_bench.base.rows import OWN_DECODE
from plc_bench.base.tables import markdown_table
from plc_bench.peers import comparable
from plc_bench.quality.study import Row, Study
from plc_bench.report.charts import CURVES, draw_study
from plc_bench.scores import registry
from plc_bench.scores.registry import MUSIC_DOMAINS

MUSIC_SCORES = ("nmse", "lsd", "fad")
SPEECH_SCORES = ("plcmos", "pesq", "stoi")
CODED_MARK = "†"
# Methods that wait for later packets. NetEq plays 10 to 40 ms behind the newest one.
_WAITS = re.compile(r"@lookahead[1-9]|^neteq")


def page(studies: Sequence[Study]) -> str:
    """Return the tables of all studies as Markdown."""
    parts = ["# Headline\n"]
    for each in studies:
        for condition in each.conditions:
            rows = [row for row in each.rows if row.condition == condition.name]
            if rows:
                parts += [f"## {each.name}: {condition.title}\n", _table(each, rows)]
    parts.append(_notes(studies))
    return "\n".join(parts) + "\n"


def write(folder: Path, studies: Sequence[Study]) -> list[Path]:
    """Write the page and the pictures; return their paths.

    Raises
    ------
    ConfigError
        If they cannot be written.
    MissingExtraError
        If matplotlib is missing.
    """
    targets = [folder / "headline.md", *[folder / f"{one.name}.png" for one in studies]]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        targets[0].write_text(page(studies), encoding="utf-8")
        for each, path in zip(studies, targets[1:], strict=True):
            names = {method: _name(method) for method in _shown(each)}
            draw_study(path, each, names, _title(each))
    except OSError as error:
        raise ConfigError(f"cannot write {folder}: {error.strerror}") from error
    return targets


@dataclass(frozen=True, slots=True)
class _Mean:
    """A mean, and of how many clips: other clips, another mean."""

    value: float = math.nan
    count: int = 0


def _shown(each: Study) -> list[str]:
    """Return the methods to show: of a codec, its comparison with its own decode."""
    return [name for name in each.methods if name + OWN_DECODE not in each.methods]


def _table(each: Study, rows: Sequence[Row]) -> str:
    columns = _columns(each, rows)
    methods = _shown(each)
    cells = {
        (method, column): _mean(rows, method, *column) for method in methods for column in columns
    }
    by_column = {column: [cells[method, column] for method in methods] for column in columns}
    most = {column: max(mean.count for mean in means) for column, means in by_column.items()}
    best = {column: _best(cells, methods, column, most[column]) for column in columns}
    clips = {
        domain: len({row.clip for row in rows if row.domain == domain}) for domain, _ in columns
    }
    headings = [
        f"{domain} ({clips[domain]}): {registry.label(metric)}" for domain, metric in columns
    ]
    rows_shown = [
        [
            _label(method),
            *(_text(cells[method, each], each[1], best[each], most[each]) for each in columns),
        ]
        for method in methods
    ]
    return markdown_table(["method", *headings], rows_shown) + "\n"


def _columns(each: Study, rows: Sequence[Row]) -> list[tuple[str, str]]:
    """Return the domains and the metrics of each that the study has."""
    columns = []
    for domain in sorted({row.domain for row in rows}):
        wanted = MUSIC_SCORES if domain in MUSIC_DOMAINS else SPEECH_SCORES
        known = [name for name in wanted if name in each.settings["metrics"]]
        columns += [(domain, name) for name in known or CURVES]
    return [column for column in columns if column[1] in each.settings["metrics"]]


def _mean(rows: Sequence[Row], method: str, domain: str, metric: str) -> _Mean:
    """Return the mean over the clips that have the score; of none where it is unfair."""
    if not comparable(method, metric):
        return _Mean()
    values = [row.scores[metric] for row in rows if row.method == method and row.domain == domain]
    summary = summarise(values)
    return _Mean(summary.mean, summary.count) if summary.count else _Mean()


def _best(
    cells: dict[tuple[str, tuple[str, str]], _Mean],
    methods: Sequence[str],
    column: tuple[str, str],
    most: int,
) -> float:
    """Return the best complete mean of methods without lookahead."""
    means = [cells[method, column] for method in methods if not _WAITS.search(method)]
    defined = [each.value for each in means if math.isfinite(each.value) and each.count == most]
    if not defined:
        return math.nan
    return min(defined) if registry.metric(column[1]).lower_is_better else max(defined)


def _text(mean: _Mean, metric: str, best: float, most: int) -> str:
    if math.isnan(mean.value):
        return "-"
    digits = registry.metric(metric).digits
    text = f"{mean.value:.{digits}f}"
    if mean.count < most:
        return f"{text} ({mean.count} of {most})"
    return f"**{text}**" if text == f"{best:.{digits}f}" else text


def _label(method: str) -> str:
    return f"`{_name(method)}`" + (f" {CODED_MARK}" if method.endswith(OWN_DECODE) else "")


def _name(method: str) -> str:
    """Return a method's name without the folders of a path in it."""
    return re.sub(r"/[^:]*/", "", method.removesuffix(OWN_DECODE))


def _notes(studies: Sequence[Study]) -> str:
    version = ", ".join(sorted({str(each.settings["plc"]) for each in studies}))
    seeds = ", ".join(sorted({str(each.settings["seed"]) for each in studies}))
    failed = sum(len(each.missing) for each in studies)
    return (
        f"Means over clips (how many in brackets); plc {version}, seed {seeds}; every method met "
        "the same losses. NMSE, LSD and FAD: lower is better; all others: higher. Bold: the best "
        f"that does not wait. {CODED_MARK} compared with its own loss-free decode (PLCMOS has no "
        "reference, and holds the coding). - not measured, or not comparable; (n of m): of fewer "
        "clips, and so not to be compared. "
        f"{failed} scores failed" + (": `failures.csv` of each study says why." if failed else ".")
    )


def _title(each: Study) -> str:
    clips = len({row.clip for row in each.rows})
    losses = each.conditions[0].title if len(each.conditions) == 1 else "several losses"
    return f"{each.name}: {counted(clips, 'clip')}, {losses}"
