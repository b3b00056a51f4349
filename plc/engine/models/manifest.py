"""Facts about a network: ``NAME.json`` beside ``NAME.onnx``.

The manifest is read first and decides whether the other file is looked at at all: it holds that
file's size and SHA-256. Reading is strict. A field that is missing, unknown, of another type or
out of its range refuses the model and says so: guessing would let a network run on a grid or at
a rate that it was not trained for, which sounds bad and reports no error.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Annotated, Any, Self

import msgspec
from msgspec import Meta

from plc.engine.models.kinds import KINDS
from plc.errors import ModelError
from plc_kernels.stream.layout import MAX_SAMPLE_RATE, MIN_SAMPLE_RATE

FORMAT = 1
"""Version of the manifest's fields and of the graph's inputs and outputs."""
CONTENTS = ("music", "speech", "instruments", "any")
MAX_MODEL_BYTES = 64 << 20
"""Larger ONNX files are refused; the paper's network, the largest known here, has 45 MB."""
MAX_MANIFEST_BYTES = 1 << 20
MAX_HORIZON_MS = 2_000.0
MAX_CONTEXT_FRAMES = 1_024

_Line = Annotated[str, Meta(min_length=1, max_length=500)]
_Draft = Annotated[str, Meta(pattern=r"\A[A-Za-z_][A-Za-z0-9_]*\Z")]
_Frames = Annotated[int, Meta(ge=0, le=MAX_CONTEXT_FRAMES)]
_Rate = Annotated[int, Meta(ge=MIN_SAMPLE_RATE, le=MAX_SAMPLE_RATE)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """Everything known about a network.

    :meth:`from_fields` checks each field; the constructor checks only that fields agree and that
    text is printable.

    Parameters
    ----------
    name : str
        Letters, digits, ``.``, ``_`` and ``-``; at most 64.
    kind : str, one of :data:`plc.engine.models.kinds.KINDS`
    content : str
        One of :data:`CONTENTS`: what it was trained on.
    sha256 : str
        Of the ONNX file, 64 hexadecimal digits.
    bytes : int, size of the ONNX file
    bin_hz : float
        Spacing of the bins; the window is ``4 * round(sample_rate / (4 * bin_hz))`` samples.
    top_hz : float or None
        Frequency of the last bin that the network sees; None: all bins.
    drafts : tuple of str
        What stands in the gap of each line of ``spectra``, in order; none for kind
        ``context_encoder``. Of ``restore`` and ``stroke``: ``linear`` where lost frames are
        interpolated, none where they are 0.
    context_frames, context_frames_after : int
        Frames before and after those that the network fills.
    horizon_ms : float
        Longest gap it fills; of ``notes``, length of a note.
    sample_rates : tuple of int
        Lowest and highest rate in Hz that it may be used at.
    parameters : int, trained numbers in it
    opset : int, of ONNX
    licence : str, of the weights
    training : mapping
        How it was trained: recipe, seed, steps, data.
    figures : mapping
        Measured quality, by name; the name says on which split.
    created_by : str, version of this package that wrote it
    format : int, :data:`FORMAT`
    path : Path or None
        Where it was read from; not in the file.
    """

    name: Annotated[str, Meta(pattern=r"\A[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")]
    kind: Annotated[str, Meta(pattern=rf"\A({'|'.join(KINDS)})\Z")]
    content: Annotated[str, Meta(pattern=rf"\A({'|'.join(CONTENTS)})\Z")]
    sha256: Annotated[str, Meta(pattern=r"\A[0-9a-f]{64}\Z")]
    bytes: Annotated[int, Meta(ge=1, le=MAX_MODEL_BYTES)]
    bin_hz: Annotated[float, Meta(gt=1.0, le=1000.0)]
    top_hz: Annotated[float, Meta(gt=0.0, le=MAX_SAMPLE_RATE / 2)] | None
    drafts: Annotated[tuple[_Draft, ...], Meta(max_length=16)]
    context_frames: _Frames
    context_frames_after: _Frames
    horizon_ms: Annotated[float, Meta(gt=0.0, le=MAX_HORIZON_MS)]
    sample_rates: tuple[_Rate, _Rate]
    parameters: Annotated[int, Meta(ge=0, le=1 << 40)]
    opset: Annotated[int, Meta(ge=1, le=1000)]
    licence: _Line
    training: dict[str, Any]
    figures: dict[_Line, Annotated[float, Meta(ge=-1e300, le=1e300)]]
    created_by: _Line
    format: int = FORMAT
    path: Path | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        """Check that fields agree, and that text is printable."""
        lines = [("licence", self.licence), ("created_by", self.created_by)]
        lines += [("figures", name) for name in self.figures]
        faults = (
            *(
                (not line.isprintable(), f"{name} is {_shown(line)}; expected printable characters")
                for name, line in lines
            ),
            (self.sample_rates[0] > self.sample_rates[1], "sample_rates begins above its end"),
            (self.top_hz is not None and self.top_hz < self.bin_hz, "top_hz is below bin_hz"),
            (
                len(set(self.drafts)) < len(self.drafts),
                f"drafts is {_shown(list(self.drafts))}; expected different names",
            ),
            (
                not self.drafts and not KINDS[self.kind].own_ports,
                f"a {self.kind} model names no drafts",
            ),
            (
                self.kind == "causal" and self.context_frames_after > 0,
                "a causal model asks for frames after the gap",
            ),
        )
        for wrong, what in faults:
            if wrong:
                raise ModelError(f"{self.path or self.name}: {what}; export the model again")

    @property
    def onnx_path(self) -> Path:
        """Path of the weights, beside the manifest."""
        assert self.path is not None, "a manifest that was not read from a file has no weights"
        return self.path.with_suffix(".onnx")

    def horizon_samples(self, sample_rate: int) -> int:
        """Return the longest gap at a rate, in samples."""
        return round(self.horizon_ms * sample_rate / 1000.0)

    def bins(self, sample_rate: int) -> int:
        """Return the bins that the network takes at a rate.

        With ``top_hz`` these are always as many; those that a low rate does not have are zeros.
        """
        if self.top_hz is None:
            return 2 * round(sample_rate / (4 * self.bin_hz)) + 1
        return round(self.top_hz / self.bin_hz) + 1

    def frames(self, sample_rate: int) -> int:
        """Return the frames of the network: its longest gap's, and context.

        A frame is four hops long, so that three begin before the gap and touch it.
        """
        # In hops of the grid as it was meant: where they come out in whole samples or not, a graph
        # has the same number of frames.
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
        version = values.get("format", FORMAT)
        if type(version) is not int or version != FORMAT:
            raise ModelError(
                f"{label}: format is {version!r}; this version reads {FORMAT}: "
                "upgrade plc-engine or export the model again"
            )
        known = {each.name for each in fields(cls)} - {"path"}
        _check_names(label, set(values), known)
        try:
            return msgspec.convert({**values, "path": path}, cls)
        except msgspec.ValidationError as error:
            if isinstance(error.__cause__, ModelError):  # of __post_init__
                raise error.__cause__ from None
            raise ModelError(f"{label}: {_told(str(error), values)}") from error

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
            path.write_bytes(msgspec.json.format(msgspec.json.encode(values), indent=2) + b"\n")
        except OSError as error:
            raise ModelError(f"cannot write {path}: {error.strerror or error}") from error


def _check_names(label: str, given: set[Any], known: set[str]) -> None:
    missing = sorted(known - given)
    if missing:
        raise ModelError(f"{label}: lacks {', '.join(missing)}; export the model again")
    unknown = sorted(given - known, key=repr)
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
            raise ModelError(f"{path}: over {MAX_MANIFEST_BYTES >> 20} MB; that is not a manifest")
        return data.decode("utf-8")
    except OSError as error:
        raise ModelError(
            f"cannot read {path}: {error.strerror or error}; give the .json of a model, or a name "
            "that plc models lists"
        ) from error
    except UnicodeDecodeError as error:
        raise ModelError(f"{path}: not UTF-8; expected a JSON manifest") from error


def _decoded(path: Path, text: str) -> Any:
    """Return JSON; refuse NaN, infinity and repeated fields."""

    def refuse(constant: str) -> Any:
        raise ValueError(f"{constant} is not a JSON number")

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        values = dict(pairs)
        if len(values) < len(pairs):
            raise ValueError("a field is given twice")
        return values

    try:
        return json.loads(text, parse_constant=refuse, object_pairs_hook=once)
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{path}: not valid JSON: {error}; export the model again") from error


def _told(error: str, values: Mapping[str, Any]) -> str:
    """Return a message of ``msgspec`` with name and value of the field."""
    # "Expected `int` - at `$.bytes`" or "Expected `str` - at `key` in `$.figures`".
    expected, _, place = error.rpartition(" - at ")
    name = place.rpartition("$.")[2].strip("`").partition("[")[0]
    return (
        f"{name} is {_shown(values.get(name))}; {expected[:1].lower()}{expected[1:]}; "
        "export the model again"
    )


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
