"""One page that shows a study and lets people listen to it: ``plc bench report``.

::

    report/index.html     tables, curves, players, the blind test; style and script inside
    report/curves.png     the curves as a picture, for other pages
    report/clips/N.js     the audio of one clip, loaded when it is first played
    report/clips/N-K.png  spectrograms, the lost packets marked
    report/clips/N-K.svg  one gap as a wave

It opens from a disk, without a server: a browser lets a ``file://`` page run scripts that lie
beside it, but not read files, so the audio comes as a script. It is FLAC, not a lossy codec, which
would smear the few milliseconds at the edges of gaps that listeners judge. To save space, a version
is stored as its difference to the reference, silent outside the gaps; the browser adds the two
exactly, as both are integers. The lossy version needs no audio.
"""

import hashlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from importlib import resources
from pathlib import Path
from string import Template
from typing import Any

import numpy as np

from plc.errors import ConfigError
from plc.files.pages import listening
from plc.files.pages.listening import (
    difference_or_whole,
    flac_base64,
    gap_waves,
    levels_db,
    mono,
    spectrogram_png,
)
from plc_bench.base.compare import INTERVAL_GROUPS_MIN
from plc_bench.base.tables import Table
from plc_bench.peers import comparable
from plc_bench.quality import excerpts
from plc_bench.quality.excerpts import LOSSY, REFERENCE, Excerpt
from plc_bench.quality.study import GAP_METRICS, Study, load
from plc_bench.quality.summary import remarks, sizes, summary_tables
from plc_bench.report.charts import draw_curves, gap_chart
from plc_bench.report.ratings import ratings_table, read_ratings
from plc_bench.scores import registry

# A page larger than this is slow to pass on; fewer or shorter excerpts make it smaller.
LARGE_MB = 60.0
# Files of a page in its folder of clips; other files are kept.
_OURS = re.compile(r"\d+\.js|\d+-\d+\.(?:png|svg)")
# Stands in every page of ours.
_OWN_PAGE = "plcClip"
_SCRIPTS = ("page.js", "listen.js")
# What stands beside a version's name.
_SHOWN = ("plcmos", "nmse", "lsd", "level")


@dataclass(frozen=True, slots=True)
class Page:
    """The written page: how many clips it plays, and the bytes of all its files."""

    path: Path
    clips: int
    total_bytes: int


def build(results: Path, out: Path, ratings: Sequence[Path] = ()) -> Page:
    """Write the page of a study.

    Parameters
    ----------
    out : Path
        Folder of the page; files of an earlier one are replaced.
    ratings : sequence of Path
        Files of the blind test.

    Raises
    ------
    ConfigError
        If the folder holds no study, a file is damaged, or the page cannot be written.
    MissingExtraError
        If matplotlib is not installed.
    """
    study = load(results)
    heard = read_ratings(ratings, study)
    kept = excerpts.find(results)
    clips = out / "clips"
    _check_folder(out)
    try:
        clips.mkdir(parents=True, exist_ok=True)
        for stale in clips.iterdir():
            if _OURS.fullmatch(stale.name):
                stale.unlink()
        described = [_write_clip(clips, number, one, study) for number, one in enumerate(kept)]
        page = _page(study, described, [ratings_table(heard)] if heard else [])
        (out / "index.html").write_text(page, encoding="utf-8")
        draw_curves(out / "curves.png", study)
    except OSError as error:
        raise ConfigError(f"cannot write {out}: {error.strerror or error}") from error
    written = [
        out / "index.html",
        out / "curves.png",
        *(path for path in clips.iterdir() if _OURS.fullmatch(path.name)),
    ]
    return Page(out / "index.html", len(kept), sum(path.stat().st_size for path in written))


def _check_folder(out: Path) -> None:
    """Raise if the page exists and this program did not write it."""
    try:
        page = (out / "index.html").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return
    if _OWN_PAGE not in page:
        raise ConfigError(f"{out / 'index.html'} is another page; give another folder")


def _page(study: Study, clips: Sequence[Mapping[str, Any]], ratings: Sequence[Table]) -> str:
    folder = resources.files("plc_bench.report") / "page"
    tables = summary_tables(study)
    data = json.dumps(
        {
            "report": _identity(study),
            "studyId": study.identity,
            "methods": study.methods,
            "clips": clips,
        },
        ensure_ascii=False,
    )
    return Template((folder / "index.html").read_text(encoding="utf-8")).substitute(
        about=escape(_about(study)),
        style=listening.style() + (folder / "page.css").read_text(encoding="utf-8"),
        script="\n".join(
            [
                listening.player(),
                *((folder / name).read_text(encoding="utf-8") for name in _SCRIPTS),
            ]
        ),
        data=data.replace("<", "\\u003c"),
        curves="".join(_gap_chart(study, metric) for metric in GAP_METRICS),
        tables="".join(html_table(table) for table in tables),
        failures=_failures(study),
        ratings="".join(html_table(table) for table in ratings),
    )


def html_table(table: Table) -> str:
    """Return a table that the page can sort."""
    rows = [
        [(cell.text, cell.value if math.isfinite(cell.value) else None) for cell in row]
        for row in table.rows
    ]
    note = f'<p class="note">{escape(table.note)}</p>' if table.note else ""
    shown = listening.table(table.headings, rows, table.own, table.ends)
    return f"<h3>{escape(table.title)}</h3>{note}{shown}"


def _write_clip(folder: Path, number: int, excerpt: Excerpt, study: Study) -> dict[str, Any]:
    """Write the audio and the pictures of one clip; return its description for the page."""
    order = [REFERENCE, LOSSY, *(name for name in study.methods if name in excerpt.files)]
    samples = {name: excerpt.read(name) for name in order}
    reference = samples[REFERENCE]
    lost = np.repeat(excerpt.trace, excerpt.packet_samples)
    heard = [mono(samples[name]) for name in order]
    loudest_db = float(levels_db(heard[0], excerpt.sample_rate).max())
    waves = gap_waves(heard, lost[: len(reference)], excerpt.sample_rate)
    audio, tracks = {}, []
    for place, name in enumerate(order):
        png = spectrogram_png(heard[place], lost, excerpt.sample_rate, loudest_db)
        picture, near = f"{number}-{place}.png", f"{number}-{place}.svg"
        (folder / picture).write_bytes(png)
        if waves:
            (folder / near).write_text(waves[place], encoding="utf-8")
        # The page makes the lossy version itself; that of zeros is the same.
        if name == REFERENCE or not np.array_equal(samples[name], samples[LOSSY]):
            stored, is_difference = difference_or_whole(reference, samples[name])
            if name == REFERENCE:
                stored, is_difference = reference, False
            audio[name] = {
                "audio": flac_base64(stored, excerpt.sample_rate),
                "difference": is_difference,
            }
        tracks.append(
            {
                "name": name,
                "label": "lossy, not concealed" if name == LOSSY else name,
                "picture": f"clips/{picture}",
                "near": f"clips/{near}" if waves else None,
                "scores": _shown_scores(study, excerpt, name),
            }
        )
    script = f"plcClip({number},{json.dumps(audio)});\n"
    (folder / f"{number}.js").write_text(script, encoding="utf-8")
    titles = {condition.name: condition.title for condition in study.conditions}
    return {
        "id": number,
        "name": excerpt.clip,
        "domain": excerpt.domain,
        "condition": titles.get(excerpt.condition, excerpt.condition),
        "what": f"{excerpt.domain} · {titles.get(excerpt.condition, excerpt.condition)}",
        "conditionName": excerpt.condition,
        "sampleRate": excerpt.sample_rate,
        "channels": reference.shape[1],
        "samples": len(reference),
        "packetSamples": excerpt.packet_samples,
        "trace": "".join("01"[int(one)] for one in excerpt.trace),
        "audio": f"clips/{number}.js",
        "tracks": tracks,
    }


def _shown_scores(study: Study, excerpt: Excerpt, method: str) -> str:
    for row in study.rows:
        if (row.clip, row.condition, row.method) == (excerpt.clip, excerpt.condition, method):
            shown = [
                name
                for name in _SHOWN
                if comparable(method, name) and math.isfinite(row.scores.get(name, math.nan))
            ]
            return " · ".join(_score_text(name, row.scores[name]) for name in shown)
    return ""


def _score_text(metric: str, value: float) -> str:
    name, _, unit = registry.label(metric).partition(" ")
    digits = registry.metric(metric).digits
    return f"{name} {round(value, digits) + 0.0:.{digits}f} {unit}".rstrip()


def _gap_chart(study: Study, metric: str) -> str:
    title = f"{registry.label(metric)} over the length of the gap"
    chart = gap_chart(study, metric, title)
    if not chart:
        return ""
    note = (
        "All conditions; bands are 95 % intervals over clips, where there are "
        f"{INTERVAL_GROUPS_MIN} or more."
    )
    return f'<figure><figcaption>{title}</figcaption>{chart}<p class="note">{note}</p></figure>'


def _failures(study: Study) -> str:
    if not study.missing:
        return ""
    lines = "".join(
        f"<li>{escape(f'{one.clip}, {one.condition}, {one.method}: {one.reason}')}</li>"
        for one in study.missing
    )
    return f'<h3>Failed: {len(study.missing)}</h3><ul class="failures">{lines}</ul>'


def _about(study: Study) -> str:
    settings = study.settings
    of = f"{sizes(study)}, the same losses for all. plc {settings['plc']}, seed {settings['seed']}."
    return " ".join([of, *remarks(study)])


def _identity(study: Study) -> str:
    """Return the key of a study's page in a browser's storage."""
    text = json.dumps(study.settings, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
