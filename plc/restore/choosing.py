"""A page to choose by ear which places a repair fills.

What is ticked is saved by the page as a zip file of labels, one file for each recording that was
looked at, which ``plc repair --gaps`` and ``plc inpaint --gaps`` read.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plc import notice
from plc.errors import PlcError, in_a_line
from plc.files.fill.signals import inpaint
from plc.files.marks import names_beside
from plc.files.pages import listening
from plc.files.pages.repaired import place_in_time, stretches, which
from plc.notice import counted
from plc.restore.detect.findings import Finding
from plc.restore.detect.recorded import channels_of, labels_of
from plc.restore.repair import FAILED, NOT_LOOKED_AT, Outcome, RepairReport, RepairSettings

_TITLE, _SCRIPT = "What to repair", "choose.js"
# A page of more players is slow to open; all places are in its table.
_PLAYERS = 60
# What is heard beside a place, and what a fill is computed from.
_MARGIN_S = 0.7
_CONTEXT_S = 3.0
# A longer place is heard at its start alone, filled as far.
_LONGEST_S = 6.0


@dataclass(frozen=True, slots=True)
class _Found:
    outcome: Outcome
    finding: Finding

    @property
    def start_s(self) -> float:
        return self.finding.start / self.outcome.sample_rate

    @property
    def at(self) -> str:
        return place_in_time(self.start_s)

    @property
    def channels(self) -> str:
        return channels_of(self.finding, self.outcome.channels)

    @property
    def length_ms(self) -> float:
        return 1000 * (self.finding.stop - self.finding.start) / self.outcome.sample_rate


def choices_page(report: RepairReport, settings: RepairSettings) -> str:
    """Return a page of all places of a dry run, doubtful ones included, filled by these settings.

    Raises
    ------
    AudioFileError
        If a recording cannot be read.
    """
    places = [_Found(each, finding) for each in report.outcomes for finding in each.findings]
    heard = dict(_clips(places, _heard(places), Path(report.source), settings))
    shown = {number: clip for clip, number in enumerate(heard)}
    failed = [each for each in report.outcomes if each.state == FAILED]
    tables = [_controls(), _table(places)]
    if failed:
        rows: list[list[tuple[str, float | None]]] = [
            [(each.name, None), (each.reason, None)] for each in failed
        ]
        tables.append(f"<h2>Failed</h2>{listening.table(['recording', 'why'], rows)}")
    told = json.dumps(_choices(report, places, shown)).replace("<", "\\u003c")
    tables.append(f'<script type="application/json" id="choices">{told}</script>')
    marks = "Red marks are what would be filled."
    return listening.page(
        _TITLE, _about(report, places, shown), "".join(tables), list(heard.values()), marks, _SCRIPT
    )


def _about(report: RepairReport, places: list[_Found], shown: dict[int, int]) -> str:
    doubtful = sum(bool(place.finding.doubt) for place in places)
    failed, unseen = report.count(FAILED), report.count(NOT_LOOKED_AT)
    about = f"{counted(len(report.outcomes), 'recording')}, {counted(len(places), 'place')}"
    about += f", {doubtful} of them doubtful" if doubtful else ""
    about += f"; {counted(failed, 'recording')} failed" if failed else ""
    about += f"; {counted(unseen, 'recording')} without labels, not looked at" if unseen else ""
    about += ". Tick what shall be filled, and save: plc repair --gaps labels.zip fills it."
    if len(shown) < len(places):
        about += f" To listen to: {len(shown)}, of each recording the least certain."
    return about


def _heard(places: list[_Found]) -> list[int]:
    def sureness(number: int) -> tuple[bool, float]:
        finding = places[number].finding
        return not finding.doubt, finding.confidence

    ranked: list[tuple[int, tuple[bool, float], int]] = []
    for _, group in groupby(range(len(places)), key=lambda number: places[number].outcome):
        order = enumerate(sorted(group, key=sureness))
        ranked += [(rank, sureness(number), number) for rank, number in order]
    return [number for _, _, number in sorted(ranked)[:_PLAYERS]]


def _controls() -> str:
    return (
        '<p class="choice"><button type="button" id="save">Save labels.zip</button> '
        '<button type="button" id="all">Tick all</button> '
        '<button type="button" id="none">Tick none</button> '
        '<span id="ticked" role="status"></span></p>'
    )


def _table(places: list[_Found]) -> str:
    """Return a table of all places; the page's script puts a box into each row."""
    rows: list[list[tuple[str, float | None]]] = []
    for number, place in enumerate(places):
        finding = place.finding
        rows.append(
            [
                (place.outcome.name, None),
                ("", number),
                (place.at, place.start_s),
                (f"{place.length_ms:.1f}", place.length_ms),
                (finding.kind, None),
                (f"{finding.confidence:.2f}", finding.confidence),
                (place.channels, None),
                (finding.doubt, None),
            ]
        )
    headings = ["recording", "fill", "at", "ms", "kind", "confidence", "channels", "doubtful"]
    return f'<div id="places">{listening.table(headings, rows)}</div>'


def _choices(report: RepairReport, places: list[_Found], shown: dict[int, int]) -> dict[str, Any]:
    looked = [each for each in report.outcomes if each.state not in (FAILED, NOT_LOOKED_AT)]
    return {
        "files": [names_beside(each.name)[0] for each in looked],
        "places": [
            {
                "file": names_beside(place.outcome.name)[0],
                "label": "".join(
                    labels_of(
                        replace(place.finding, doubt=""),  # whoever ticks it has no doubt
                        place.outcome.sample_rate,
                        place.outcome.channels,
                    )
                ),
                "ticked": not place.finding.doubt,
                "clip": shown.get(number),
            }
            for number, place in enumerate(places)
        ],
    }


def _clips(
    places: list[_Found], heard: list[int], folder: Path, settings: RepairSettings
) -> Iterator[tuple[int, listening.Clip]]:
    """Yield the places that are heard, by their numbers; each recording is read once."""
    for outcome, group in groupby(sorted(heard), key=lambda number: places[number].outcome):
        numbers, rate = list(group), outcome.sample_rate
        context, most = round(_CONTEXT_S * rate), round(_LONGEST_S * rate)
        spans = [
            (max(0, each.start - context), min(each.stop, each.start + most) + context)
            for each in (places[number].finding for number in numbers)
        ]
        cuts = stretches(folder / outcome.name, spans)
        for number, (first, _), cut in zip(numbers, spans, cuts, strict=True):
            clip = _clip(places[number], first, np.nan_to_num(cut), settings)
            if clip is not None:
                yield number, clip


def _clip(
    place: _Found, first: int, before: NDArray[np.float32], settings: RepairSettings
) -> listening.Clip | None:
    """Return a place before and after; None if it cannot be filled.

    Damage beside it is filled, too, as the repair would: it would be no context.
    """
    rate, finding = place.outcome.sample_rate, place.finding
    filled = [each for each in place.outcome.findings if each is finding or not each.doubt]
    lost = np.zeros(before.shape, np.bool_)
    for each in filled:
        for start, stop in each.gaps:
            lost[max(0, start - first) : max(0, stop - first), each.channels] = True
    try:
        after = inpaint(
            before,
            lost,
            sample_rate=rate,
            quality=settings.quality,
            method=settings.method,
            model=settings.model,
            content=settings.content,
        )
    except PlcError as error:
        notice.tell(f"{place.outcome.name}, {place.at}: no player: {in_a_line(error)}")
        return None
    margin, most = round(_MARGIN_S * rate), round(_LONGEST_S * rate)
    stop = min(finding.stop, finding.start + most)
    cut = slice(max(0, finding.start - first - margin), stop - first + margin)
    seen = finding.among(place.outcome.channels)
    doubt = f" · doubtful: {finding.doubt}" if finding.doubt else ""
    return listening.Clip(
        name=place.outcome.name,
        what=f"{place.at} · {place.length_ms:.1f} ms · {finding.kind} {finding.confidence:.2f}"
        f"{which(seen)}{doubt}",
        sample_rate=rate,
        versions=[
            listening.Version(name="before", signal=before[cut]),
            listening.Version(name="after", signal=np.asarray(after, np.float32)[cut]),
        ],
        lost=np.any(lost[cut][:, finding.channels], axis=1),
        seen=seen,
    )
