"""What a network is, beside its weights: ``NAME.json`` next to ``NAME.onnx``.

The manifest is read first and decides whether the other file is looked at at all: it holds that
file's size and SHA-256. Reading is strict. A field that is missing, unknown, of another type or
out of its range refuses the model and says so: guessing would let a network run on a grid or at
a rate that it was not trained for, which sounds bad and reports no error.
"""

import json
import math
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Self

from plc.errors import ModelError
from plc.jsonable import to_json
from plc.limits import MAX_SAMPLE_RATE, MIN_SAMPLE_RATE

FORMAT = 1
"""Version of the manifest's fields and of the graph's inputs and outputs."""
KINDS = ("causal", "bridge", "inpaint", "paper")
"""For streams: fills from the past; from the past and the packets that a stream waits for. For
files: fills from both sides; the context encoder of Marafioti et al. 2019."""
# What "inpaint" was called when format 1 began.
_KIND_BEFORE = "lookahead"
CONTENTS = ("music", "speech", "instruments", "any")
MAX_MODEL_BYTES = 64 << 20
"""Larger ONNX files are refused; the paper's network, the largest known here, has 45 MB."""
MAX_MANIFEST_BYTES = 1 << 20
MAX_HORIZON_MS = 2_000.0
MAX_CONTEXT_FRAMES = 1_024

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """Everything known about a network; one that exists is valid.

    Parameters
    ----------
    name : str
        Letters, digits, ``.``, ``_`` and ``-``; at most 64.
    kind : str
        One of :data:`KINDS`.
    content : str
        One of :data:`CONTENTS`: what it was trained on.
    sha256 : str
        Of the ONNX file, 64 hexadecimal digits.
    bytes : int
        Size of the ONNX file.
    bin_hz : float
        Spacing of the bins; the window is ``4 * round(sample_rate / (4 * bin_hz))`` samples.
    top_hz : float or None
        Frequency of the last bin that the network sees; None: all bins.
    drafts : tuple of str
        What stands in the gap of each line of ``spectra``, in order; none for kind ``paper``.
    context_frames, context_frames_after : int
        Frames before and after those that the network fills.
    horizon_ms : float
        Longest gap it fills.
    sample_rates : tuple of int
        Lowest and highest rate in Hz that it may be used at.
    parameters : int
        Trained numbers in it.
    opset : int
        Of ONNX.
    licence : str
        Of the weights.
    training : mapping
        How it was trained: recipe, seed, steps, data.
    figures : mapping
        Measured quality, by name; the name says on which split.
    created_by : str
        Version of this package that wrote it.
    format : int
        :data:`FORMAT`.
    path : Path or None
        Where it was read from; not in the file.

    Raises
    ------
    ModelError
        If a field is out of its range.
    """

    name: str
    kind: str
    content: str
    sha256: str
    bytes: int
    bin_hz: float
    top_hz: float | None
    drafts: tuple[str, ...]
    context_frames: int
    context_frames_after: int
    horizon_ms: float
    sample_rates: tuple[int, int]
    parameters: int
    opset: int
    licence: str
    training: Mapping[str, Any]
    figures: Mapping[str, float]
    created_by: str
    format: int = FORMAT
    path: Path | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        """Check every field, then what fields say about each other."""
        if type(self.format) is not int or self.format != FORMAT:
            raise ModelError(
                f"{self._label}: format is {self.format!r}; this version reads {FORMAT}: "
                "upgrade plc-engine or export the model again"
            )
        for name, (valid, expected) in _RULES.items():
            value = getattr(self, name)
            if not valid(value):
                raise ModelError(
                    f"{self._label}: {name} is {_shown(value)}; expected {expected}; "
                    "export the model again"
                )
        self._check_agreement()

    def _check_agreement(self) -> None:
        faults = (
            (self.sample_rates[0] > self.sample_rates[1], "sample_rates begins above its end"),
            (self.top_hz is not None and self.top_hz < self.bin_hz, "top_hz is below bin_hz"),
            (not self.drafts and self.kind != "paper", f"a {self.kind} model names no drafts"),
            (
                self.kind == "causal" and self.context_frames_after > 0,
                "a causal model asks for frames after the gap",
            ),
        )
        for wrong, what in faults:
            if wrong:
                raise ModelError(f"{self._label}: {what}; export the model again")

    @property
    def _label(self) -> str:
        return str(self.path) if self.path else f"manifest {_shown(self.name)}"

    @property
    def onnx_path(self) -> Path:
        """Where the weights are: beside the manifest."""
        assert self.path is not None, "a manifest that was not read from a file has no weights"
        return self.path.with_suffix(".onnx")

    def horizon_samples(self, sample_rate: int) -> int:
        """Return the samples of the longest gap that the network fills at a rate."""
        return round(self.horizon_ms * sample_rate / 1000.0)

    def bins(self, sample_rate: int) -> int:
        """Return the bins that the network takes at a rate.

        With ``top_hz`` these are always as many; those that a low rate does not have are zeros.
        """
        if self.top_hz is None:
            return 2 * round(sample_rate / (4 * self.bin_hz)) + 1
        return round(self.top_hz / self.bin_hz) + 1

    def frames(self, sample_rate: int) -> int:
        """Return the frames that the network takes: those that touch its longest gap, and context.

        A frame is four hops long, so that three begin before the gap and touch it.
        """
        # In hops of the grid as it was meant: where they come out in whole samples or not, a graph
        # has so many frames.
        touching = math.ceil(round(self.horizon_ms * 4 * self.bin_hz / 1000.0, 6)) + 3
        return self.context_frames + touching + self.context_frames_after

    @classmethod
    def from_fields(cls, values: Any, path: Path | None = None) -> Self:
        """Return a manifest from decoded JSON.

        Raises
        ------
        ModelError
            If anything is missing, unknown, of another type or out of its range.
        """
        label = str(path) if path else "manifest"
        if not isinstance(values, dict):
            raise ModelError(f"{label}: holds {_shown(values)}; expected a JSON object of fields")
        known = {each.name for each in fields(cls)} - {"path"}
        version = values.get("format", FORMAT)
        if type(version) is int and version == FORMAT:  # another format has other fields
            _check_names(label, set(values), known)
        ready = {name: value for name, value in values.items() if name in known}
        if ready.get("kind") == _KIND_BEFORE:
            ready["kind"] = "inpaint"
        for name in ("drafts", "sample_rates"):
            if isinstance(ready.get(name), list):
                ready[name] = tuple(ready[name])
        for name in known - set(ready):  # only if the format is another: refused for that
            ready[name] = None
        return cls(**ready, path=path)

    @classmethod
    def read(cls, path: Path) -> Self:
        """Return the manifest in a file.

        Raises
        ------
        ModelError
            If there is no such file, or it holds no valid manifest.
        """
        return cls.from_fields(_decoded(path, _text(path)), path)

    def write(self, path: Path) -> None:
        """Write the manifest as JSON.

        Raises
        ------
        ModelError
            If the file cannot be written.
        """
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        del values["path"]
        try:
            path.write_text(to_json(values) + "\n", encoding="utf-8")
        except OSError as error:
            raise ModelError(f"cannot write {path}: {error.strerror or error}") from error


def file_state(found: os.stat_result) -> tuple[int, ...]:
    """Return what differs once a file was replaced or written: device, inode, size and times."""
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _check_names(label: str, given: set[str], known: set[str]) -> None:
    missing = sorted(known - given)
    if missing:
        raise ModelError(f"{label}: lacks {', '.join(missing)}; export the model again")
    unknown = sorted(given - known)
    if unknown:
        raise ModelError(
            f"{label}: unknown field {_shown(unknown[0])}; format {FORMAT} has "
            f"{', '.join(sorted(known))}"
        )


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_MANIFEST_BYTES + 1)
        if len(data) > MAX_MANIFEST_BYTES:
            raise ModelError(f"{path}: over {MAX_MANIFEST_BYTES >> 20} MB; that is no manifest")
        return data.decode("utf-8")
    except OSError as error:
        raise ModelError(
            f"cannot read {path}: {error.strerror or error}; give the .json of a model, or a name "
            "that plc models lists"
        ) from error
    except UnicodeDecodeError as error:
        raise ModelError(f"{path}: not UTF-8; expected a JSON manifest") from error


def _decoded(path: Path, text: str) -> Any:
    """Return JSON, without what Python reads beyond it: NaN, infinity, a field given twice."""

    def refuse(constant: str) -> Any:
        raise ValueError(f"{constant} is no JSON number")

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        values = dict(pairs)
        if len(values) < len(pairs):
            raise ValueError("a field is given twice")
        return values

    try:
        return json.loads(text, parse_constant=refuse, object_pairs_hook=once)
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{path}: no valid JSON: {error}; export the model again") from error


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _is_integer(least: int, most: int) -> Callable[[Any], bool]:
    return lambda value: type(value) is int and least <= value <= most


def _is_number(above: float, most: float) -> Callable[[Any], bool]:
    return lambda value: type(value) in (int, float) and above < value <= most


def _is_line(value: Any) -> bool:
    return isinstance(value, str) and 0 < len(value) <= 500 and value.isprintable()


def _is_rates(value: Any) -> bool:
    rate = _is_integer(MIN_SAMPLE_RATE, MAX_SAMPLE_RATE)
    return isinstance(value, tuple) and len(value) == 2 and all(map(rate, value))


def _is_drafts(value: Any) -> bool:
    if not isinstance(value, tuple) or len(value) > 16:
        return False
    names = all(isinstance(name, str) and name.isidentifier() for name in value)
    return names and len(set(value)) == len(value)


def _is_figures(value: Any) -> bool:
    if not isinstance(value, Mapping):
        return False
    return all(_is_line(name) for name in value) and all(
        type(figure) in (int, float) and math.isfinite(figure) for figure in value.values()
    )


_COUNT = 1 << 40
_RULES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "name": (
        lambda value: isinstance(value, str) and bool(_NAME.fullmatch(value)),
        "letters, digits, '.', '_', '-', at most 64",
    ),
    "kind": (lambda value: value in KINDS, " or ".join(KINDS)),
    "content": (lambda value: value in CONTENTS, " or ".join(CONTENTS)),
    "sha256": (
        lambda value: isinstance(value, str) and bool(_SHA256.fullmatch(value)),
        "64 hexadecimal digits in lower case",
    ),
    "bytes": (_is_integer(1, MAX_MODEL_BYTES), f"1 to {MAX_MODEL_BYTES} bytes"),
    "bin_hz": (_is_number(1.0, 1000.0), "a spacing above 1 and up to 1000 Hz"),
    "top_hz": (
        lambda value: value is None or _is_number(0.0, MAX_SAMPLE_RATE / 2)(value),
        f"null or a frequency up to {MAX_SAMPLE_RATE // 2} Hz",
    ),
    "drafts": (_is_drafts, "a list of different names"),
    "context_frames": (_is_integer(0, MAX_CONTEXT_FRAMES), f"0 to {MAX_CONTEXT_FRAMES} frames"),
    "context_frames_after": (
        _is_integer(0, MAX_CONTEXT_FRAMES),
        f"0 to {MAX_CONTEXT_FRAMES} frames",
    ),
    "horizon_ms": (_is_number(0.0, MAX_HORIZON_MS), f"above 0 and up to {MAX_HORIZON_MS:g} ms"),
    "sample_rates": (
        _is_rates,
        f"two rates in Hz, each {MIN_SAMPLE_RATE} to {MAX_SAMPLE_RATE}",
    ),
    "parameters": (_is_integer(0, _COUNT), "a number of parameters"),
    "opset": (_is_integer(1, 1000), "a version of ONNX's operators"),
    "licence": (_is_line, "a line of text"),
    "training": (lambda value: isinstance(value, Mapping), "an object"),
    "figures": (_is_figures, "an object of finite numbers by name"),
    "created_by": (_is_line, "a line of text"),
}
"""For each field: whether a value is valid, and what is expected of it."""
