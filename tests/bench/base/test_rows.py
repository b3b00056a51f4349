"""Summaries that documents take figures from."""

import json
import math
from pathlib import Path

import pytest

from plc.errors import ConfigError
from plc_bench.base.rows import OWN_DECODE, Score, read_rows, summary

PLACE = (("domain", "music"),)


def scores(method: str, *values: float) -> list[Score]:
    return [Score(PLACE, f"{k}.wav", method, "nmse", value) for k, value in enumerate(values)]


def test_a_mean_and_the_difference_to_the_first_method_are_over_the_same_clips() -> None:
    rows = summary([*scores("a", -4.0, -6.0), *scores("b", -1.0, -2.0, -9.0)], "a")
    alone, other, over = rows
    assert (alone["method"], alone["value"], alone["count"]) == ("a", -5.0, 2)
    assert (other["method"], other["value"], other["clips"]) == ("b", -4.0, 3)
    assert over["over"] == "a"
    assert over["value"] == pytest.approx((3.0 + 4.0) / 2)
    assert over["count"] == 2
    assert all(row["domain"] == "music" for row in rows)


def test_intervals_are_over_clips_from_six_of_them_on() -> None:
    (many,) = summary(scores("a", *range(8)))
    assert many["low"] < many["value"] == 3.5 < many["high"]
    (few,) = summary(scores("a", 1.0, 2.0))
    assert math.isnan(few["low"])
    twice = [Score(PLACE, "one.wav", "a", "nmse", float(k)) for k in range(12)]
    (one_clip,) = summary(twice)
    assert one_clip["clips"] == 1
    assert math.isnan(one_clip["high"])


def test_a_codec_s_own_decode_is_marked() -> None:
    codec, own = summary([*scores("opus", 1.0), *scores("opus" + OWN_DECODE, 2.0)])
    assert "own" not in codec
    assert (own["method"], own["own"], own["value"]) == ("opus", True, 2.0)


def test_each_statistic_of_a_time_is_a_row(tmp_path: Path) -> None:
    times = {"concealed": {"p50_ms": 0.12, "max_ms": 1.6}}
    run = {"mode": "steady", "settings": {"method": "auto"}, "times": times}
    kept = {"format": "plc bench latency, 2", "rows": [run]}
    (tmp_path / "latency.json").write_text(json.dumps(kept))
    place = {"mode": "steady", "method": "auto", "time": "concealed"}
    assert read_rows(tmp_path / "latency.json") == [
        {**place, "metric": "p50_ms", "value": 0.12},
        {**place, "metric": "max_ms", "value": 1.6},
    ]


def test_reports_of_gaps_and_of_published_cases_are_read(tmp_path: Path) -> None:
    gaps = [
        {"clip": "a", "start": 0, "snr_ms_db": {"lpc": 7.0}, "snr_db": {"lpc": 5.0}},
        {"clip": "b", "start": 0, "snr_ms_db": {"lpc": None}, "snr_db": {"lpc": 6.0}},
    ]
    report = {"settings": {"methods": ["lpc"], "gap_ms": 64.0}, "gaps": gaps, "failures": []}
    (tmp_path / "gaps.json").write_text(json.dumps([report]))
    rows = read_rows(tmp_path / "gaps.json")
    assert [(row["metric"], row["value"], row["count"]) for row in rows] == [
        ("snr_ms_db", 7.0, 1),
        ("snr_db", 5.5, 2),
    ]
    published = {"methods": ["auto"], "scores": [{"clip": "a", "gap_ms": 20, "snr_db": {"x": 3.0}}]}
    (tmp_path / "published.json").write_text(json.dumps(published))
    assert read_rows(tmp_path / "published.json")[0]["gap_ms"] == 20


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"methods": ["a"]}', '{"rows": 1}', "7"])
def test_what_holds_no_scores_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "other.json").write_text(text)
    with pytest.raises(ConfigError, match=r"other\.json"):
        read_rows(tmp_path / "other.json")
