import contextlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plc.engine.models.manifest import FORMAT, MAX_MODEL_BYTES, Manifest
from plc.errors import ModelError
from plc_kernels.spectra.windows import grid_window_samples

VALID: dict[str, Any] = {
    "format": 1,
    "name": "music-causal",
    "kind": "causal",
    "content": "music",
    "sha256": "ab" * 32,
    "bytes": 5_000_000,
    "bin_hz": 50.0,
    "top_hz": 12_000.0,
    "drafts": ["forward"],
    "context_frames": 16,
    "context_frames_after": 0,
    "horizon_ms": 60,
    "sample_rates": [8_000, 192_000],
    "parameters": 1_250_000,
    "opset": 18,
    "licence": "MIT",
    "training": {"recipe": "music.toml", "seed": 1, "data": {"hours": 3.5}},
    "figures": {"validation NMSE dB": -8.25},
    "created_by": "0.1.0",
}


def without(name: str) -> dict[str, Any]:
    return {key: value for key, value in VALID.items() if key != name}


def test_what_was_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "music-causal.json"
    manifest = Manifest.from_fields(VALID)
    manifest.write(path)
    again = Manifest.read(path)
    assert again == manifest
    assert again.path == path
    assert again.onnx_path == tmp_path / "music-causal.onnx"
    assert again.drafts == ("forward",)
    assert again.sample_rates == (8_000, 192_000)
    assert json.loads(path.read_text()) == VALID


@pytest.mark.parametrize("name", sorted(VALID))
def test_a_missing_field_is_named(name: str) -> None:
    with pytest.raises(ModelError, match=f"lacks {name}"):
        Manifest.from_fields(without(name))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("name", ""),
        ("name", "../../etc/passwd"),
        ("name", "a" * 65),
        ("name", None),
        ("kind", "psychic"),
        ("kind", ["causal"]),
        ("content", "noise"),
        ("sha256", "AB" * 32),
        ("sha256", "ab" * 31),
        ("bytes", 0),
        ("bytes", -1),
        ("bytes", MAX_MODEL_BYTES + 1),
        ("bytes", 1.5),
        ("bytes", True),
        ("bin_hz", 0),
        ("bin_hz", "50"),
        ("bin_hz", 1e400),
        ("top_hz", -1),
        ("top_hz", False),
        ("drafts", "forward"),
        ("drafts", ["forward", "forward"]),
        ("drafts", [1]),
        ("drafts", ["a b"]),
        ("drafts", list("abcdefghijklmnopq")),
        ("context_frames", -1),
        ("context_frames_after", 1.0),
        ("horizon_ms", 0),
        ("horizon_ms", 1e9),
        ("sample_rates", [8_000]),
        ("sample_rates", [100, 48_000]),
        ("sample_rates", [8_000, 500_000]),
        ("sample_rates", [8_000.0, 48_000.0]),
        ("sample_rates", {"8000": 48_000}),
        ("parameters", -1),
        ("opset", 0),
        ("licence", ""),
        ("licence", "two\nlines"),
        ("training", "much"),
        ("figures", {"SNR": "good"}),
        ("figures", {"SNR": float("nan")}),
        ("figures", [1]),
        ("figures", {"": 1.0}),
        ("figures", {1: 1.0}),
        ("training", {1: 1.0}),
        ("licence", "MIT\u202e"),
        ("licence", "MIT\ud800"),
        ("created_by", "0.1\u200b"),
        ("created_by", "0.1\u2028"),
        ("figures", {"SNR\u202e": 1.0}),
        ("created_by", 1),
    ],
)
def test_a_value_out_of_range_is_refused_by_name(name: str, value: object) -> None:
    with pytest.raises(ModelError, match=rf"{name} is .*; expected"):
        Manifest.from_fields({**VALID, name: value})


@pytest.mark.parametrize("version", [0, 2, "1", None, True])
def test_another_format_says_to_upgrade(version: object) -> None:
    with pytest.raises(ModelError, match="upgrade plc-engine"):
        Manifest.from_fields({**VALID, "format": version, "new_field": 1})
    with pytest.raises(ModelError, match="upgrade plc-engine"):
        Manifest.from_fields({"format": 7})
    assert FORMAT == 1


def test_an_unknown_field_is_refused_by_name() -> None:
    with pytest.raises(ModelError, match="unknown field 'bin_khz'"):
        Manifest.from_fields({**VALID, "bin_khz": 1})
    with pytest.raises(ModelError, match="unknown field 'path'"):
        Manifest.from_fields({**VALID, "path": "/"})


@pytest.mark.parametrize("values", [{1: 2, "a": 3}, {None: 2, 1: 2}])
def test_names_that_are_no_text_are_refused(values: dict[Any, int]) -> None:
    with pytest.raises(ModelError, match="lacks"):
        Manifest.from_fields(values)
    with pytest.raises(ModelError, match="unknown field"):
        Manifest.from_fields({**VALID, **values})


def test_a_manifest_made_without_a_file_is_checked_too() -> None:
    manifest = Manifest.from_fields(VALID)
    with pytest.raises(ModelError, match="music-causal: sample_rates begins above its end"):
        replace(manifest, sample_rates=(48_000, 8_000))
    with pytest.raises(ModelError, match=r"a\.json: licence is .*; expected printable"):
        replace(manifest, licence="a\u202eb", path=Path("a.json"))


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"sample_rates": [48_000, 8_000]}, "begins above its end"),
        ({"top_hz": 10.0}, "below bin_hz"),
        ({"drafts": []}, "names no drafts"),
        ({"context_frames_after": 1}, "frames after the gap"),
    ],
)
def test_fields_that_contradict_each_other_are_refused(
    changes: dict[str, object], what: str
) -> None:
    with pytest.raises(ModelError, match=what):
        Manifest.from_fields({**VALID, **changes})


def test_a_lookahead_model_may_see_frames_after_the_gap_and_the_papers_has_no_drafts() -> None:
    ahead = {**VALID, "kind": "inpaint", "context_frames_after": 4}
    assert Manifest.from_fields(ahead).context_frames_after == 4
    for kind in ("context_encoder", "restore"):
        assert Manifest.from_fields({**VALID, "kind": kind, "drafts": []}).drafts == ()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[1, 2]",
        "null",
        '"music"',
        '{"format": NaN}',
        '{"format": 1, "format": 1}',
        "[" * 100_000,
        '{"format": ' + "9" * 5_000 + "}",
    ],
)
def test_a_damaged_file_is_a_model_error_that_names_it(tmp_path: Path, text: str) -> None:
    path = tmp_path / "broken.json"
    path.write_text(text)
    with pytest.raises(ModelError, match=r"broken\.json"):
        Manifest.read(path)


def test_an_absent_a_huge_and_a_binary_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"cannot read .*none"):
        Manifest.read(tmp_path / "none.json")
    with pytest.raises(ModelError, match="cannot read"):
        Manifest.read(tmp_path)
    (tmp_path / "huge.json").write_bytes(b" " * (1 << 20) + b" {}")
    with pytest.raises(ModelError, match="not a manifest"):
        Manifest.read(tmp_path / "huge.json")
    (tmp_path / "binary.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ModelError, match="UTF-8"):
        Manifest.read(tmp_path / "binary.json")


def test_a_manifest_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="cannot write"):
        Manifest.from_fields(VALID).write(tmp_path / "no" / "folder.json")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)


@given(name=st.sampled_from(sorted(VALID)), value=json_values)
def test_any_value_in_any_field_is_accepted_or_refused_as_a_model_error(
    name: str, value: object
) -> None:
    with contextlib.suppress(ModelError):
        manifest = Manifest.from_fields({**VALID, name: value})
        assert manifest.frames(48_000) > 0
        assert manifest.bins(48_000) > 0


@pytest.mark.parametrize("sample_rate", [8_000, 11_025, 16_000, 44_100, 48_000, 192_000])
def test_bins_and_frames_are_those_of_the_grid(sample_rate: int) -> None:
    manifest = Manifest.from_fields(VALID)
    window = grid_window_samples(sample_rate, manifest.bin_hz)
    hop = window // 4
    # Up to 12 kHz, whether the rate has such frequencies or not.
    assert manifest.bins(sample_rate) == 241
    everything = Manifest.from_fields({**VALID, "top_hz": None})
    assert everything.bins(sample_rate) == window // 2 + 1
    gap = manifest.horizon_samples(sample_rate)
    # Frame k covers samples k * hop to k * hop + window - 1; the gap is 0 to gap - 1. Where hops
    # are rounded the few samples that it is longer than so many of them count for nothing.
    whole = round(0.99 * gap)
    touching = [k for k in range(-50, 200) if k * hop < whole and k * hop + window > 0]
    assert manifest.frames(sample_rate) == 16 + len(touching)
