import json
from pathlib import Path
from typing import Any

import pytest

from plc.errors import ConfigError
from plc_bench.quality.study import Row, Study
from plc_bench.report.ratings import FORMAT, ratings_table, read_ratings

METHODS = ("ar", "zeros")


def rated_study(seed: int = 0, *methods: str) -> Study:
    settings = {
        "methods": [*METHODS, *methods],
        "seed": seed,
        "clips": {"a.wav": {"sha256": "1"}, **{name: {"sha256": "2"} for name in methods}},
        "excerpts": [["a.wav", "c"]],
    }
    rows = [Row("a.wav", "x", "c", name, 8000, 1, 80, 1, 1, 1, {}, ()) for name in METHODS]
    return Study(Path("results"), settings, rows, [])


STUDY = rated_study()


def trial(**ratings: float) -> dict[str, Any]:
    return {"clip": "a.wav", "condition": "c", "ratings": ratings}


def save(path: Path, listener: str, *trials: dict[str, Any], **changes: Any) -> Path:
    said = {
        "format": FORMAT,
        "study": STUDY.identity,
        "listener": listener,
        "trials": list(trials),
    }
    path.write_text(json.dumps({**said, **changes}))
    return path


def test_ratings_are_averaged_over_listeners(tmp_path: Path) -> None:
    files = [
        save(tmp_path / "1.json", "Ada", trial(reference=100, ar=80, zeros=10)),
        save(tmp_path / "2.json", "Bob", trial(reference=95, ar=60, zeros=20)),
    ]
    table = ratings_table(read_ratings(files, STUDY))
    rows = {row[0].text: [cell.text for cell in row[1:]] for row in table.rows}
    assert rows["hidden reference"] == ["97.5", "-", "2"]
    assert rows["ar"] == ["70.0", "-", "2"]
    assert [row[0].text for row in table.rows][-1] == "zeros"
    assert "2 listeners." in table.note


def test_who_does_not_hear_the_reference_is_left_out(tmp_path: Path) -> None:
    deaf = [trial(reference=100, ar=0)] * 5 + [trial(reference=50, ar=0)]  # 1 in 6 is over 15 %
    keen = [trial(reference=100, ar=90)] * 6 + [trial(reference=50, ar=90)]  # 1 in 7 is not
    files = [save(tmp_path / "1.json", "Deaf", *deaf), save(tmp_path / "2.json", "Keen", *keen)]
    table = ratings_table(read_ratings(files, STUDY))
    assert "left out for missing the reference: Deaf" in table.note
    assert {row[0].text: row[1].text for row in table.rows}["ar"] == "90.0"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("no json", "is no JSON"),
        ("[]", "not a file of the blind test"),
        ('{"format": "plc-ratings-1"}', "has no trials"),
        ('{"format": "plc-ratings-1", "listener": "a", "trials": [3]}', "not as the blind test"),
        ('{"format": "plc-ratings-1", "listener": "a", "trials": []}', "say of which study"),
    ],
)
def test_what_is_no_ratings_file_is_refused(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "r.json"
    path.write_text(text)
    with pytest.raises(ConfigError, match=said):
        read_ratings([path], STUDY)


@pytest.mark.parametrize(
    "bad",
    [trial(ar=101), trial(ar=float("nan")), {"clip": "a"}, trial(other=50)],
)
def test_ratings_of_another_study_or_out_of_range_are_refused(
    tmp_path: Path, bad: dict[str, Any]
) -> None:
    with pytest.raises(ConfigError, match="a trial is not as"):
        read_ratings([save(tmp_path / "r.json", "Ada", bad)], STUDY)
    with pytest.raises(ConfigError, match="cannot read"):
        read_ratings([tmp_path / "none.json"], STUDY)


def test_ratings_of_another_study_are_refused(tmp_path: Path) -> None:
    file = save(tmp_path / "1.json", "Ada", trial(reference=100, ar=80))
    assert read_ratings([file], rated_study(0, "pitch"))  # it has grown
    with pytest.raises(ConfigError, match="is of another study than that in results"):
        read_ratings([file], rated_study(1))


def test_what_two_files_have_counts_once(tmp_path: Path) -> None:
    first, second = trial(reference=100, ar=80), trial(reference=95, ar=70)
    file = save(tmp_path / "1.json", "Ada", first, began="9:00", ended="9:05")
    copy = save(tmp_path / "copy.json", "Ada", first, began="9:00", ended="9:05")
    later = save(tmp_path / "2.json", "Ada", first, second, began="9:00", ended="9:10")
    again = save(tmp_path / "3.json", "Ada", first, began="10:00")
    assert len(read_ratings([file, file, copy], STUDY)) == 1
    assert len(read_ratings([file, later], STUDY)) == 2
    assert len(read_ratings([file, again], STUDY)) == 2
