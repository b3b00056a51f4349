"""Small networks of the network's contract, as files: what a test does with them is known."""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from plc.engine.models.manifest import Manifest
from plc.engine.networks.flat import BRIDGE_DRAFTS

onnx = pytest.importorskip("onnx")

OPSET = 18
BEFORE = 2
"""Context frames of every model made here."""

Change = Callable[[Any], None]


def fields(**changes: Any) -> dict[str, Any]:
    """Return the fields of a manifest as JSON has them."""
    values: dict[str, Any] = {
        "format": 1,
        "name": "tiny",
        "kind": "causal",
        "content": "any",
        "sha256": "0" * 64,
        "bytes": 1,
        "bin_hz": 50.0,
        "top_hz": 400.0,
        "drafts": ["forward"],
        "context_frames": BEFORE,
        "context_frames_after": 0,
        "horizon_ms": 60.0,
        "sample_rates": [8_000, 48_000],
        "parameters": 0,
        "opset": OPSET,
        "licence": "MIT",
        "training": {"recipe": "none"},
        "figures": {},
        "created_by": "0.1.0",
    }
    return {**values, **changes}


def write_model(
    folder: Path,
    graph: str = "pass",
    change: Change | None = None,
    drafts: Sequence[str] = ("forward",),
    **changes: Any,
) -> Path:
    """Write a model and its manifest; return the manifest's path.

    Parameters
    ----------
    folder : Path
        Where to.
    graph : str
        ``pass`` gives the first draft back, ``root`` its square root (NaN below 0), ``lost`` adds
        the share of lost samples to it, ``last`` gives the last draft back.
    change : callable, optional
        Called with the ``ModelProto`` before it is written.
    drafts : sequence of str
        In the manifest and the graph.
    **changes
        Other fields of the manifest.
    """
    model = make_model(graph, len(drafts), changes.get("context_frames_after", 0))
    if change:
        change(model)
    return write_bytes(
        folder, model.SerializeToString(), drafts=list(drafts), **{"name": graph, **changes}
    )


def write_bridge(folder: Path, graph: str = "last", **changes: Any) -> Path:
    """Write a model of bridges for gaps of up to 40 ms; ``changes`` are as for a model."""
    settings: dict[str, Any] = {
        "kind": "bridge",
        "drafts": BRIDGE_DRAFTS,
        "context_frames_after": 1,
        "horizon_ms": 40.0,
        "top_hz": 8000.0,
    }
    return write_model(folder, graph, **(settings | changes))


def write_bytes(folder: Path, data: bytes, **changes: Any) -> Path:
    """Write ``data`` as the weights of a model whose manifest describes them."""
    digest = hashlib.sha256(data).hexdigest()
    given = {"sha256": digest, "bytes": len(data), **changes}
    name = given.get("name", "tiny")
    path = folder / f"{name}.json"
    (folder / f"{name}.onnx").write_bytes(data)
    Manifest.from_fields(fields(**given)).write(path)
    return path


def make_model(graph: str, drafts: int, after: int = 0) -> Any:
    """Return a ``ModelProto``; :func:`write_model` says what there is."""
    helper, float32 = onnx.helper, onnx.TensorProto.FLOAT
    line = drafts - 1 if graph == "last" else 0
    constants = {
        "line": ([], [line]),
        "begin": ([1], [BEFORE]),
        "end": ([1], [-after or 2**31]),
        "axis": ([1], [3]),
        "one": ([1], [1]),
    }
    initializers = [
        helper.make_tensor(name, onnx.TensorProto.INT64, shape, values)
        for name, (shape, values) in constants.items()
    ]
    nodes = [
        helper.make_node("Gather", ["spectra", "line"], ["draft"], axis=1),
        helper.make_node("Slice", ["draft", "begin", "end", "axis"], ["inner"]),
    ]
    if graph == "root":
        nodes.append(helper.make_node("Sqrt", ["inner"], ["filled"]))
    elif graph == "lost":
        nodes += [
            helper.make_node("Slice", ["lost", "begin", "end", "one"], ["share"]),
            helper.make_node("Unsqueeze", ["share", "axes"], ["wide"]),
            helper.make_node("Add", ["inner", "wide"], ["filled"]),
        ]
        initializers.append(helper.make_tensor("axes", onnx.TensorProto.INT64, [2], [1, 2]))
    else:
        nodes.append(helper.make_node("Identity", ["inner"], ["filled"]))
    inputs = [
        helper.make_tensor_value_info("spectra", float32, ["b", drafts, 2, "k", "n"]),
        helper.make_tensor_value_info("lost", float32, ["b", "n"]),
    ]
    outputs = [helper.make_tensor_value_info("filled", float32, ["b", 2, "k", "m"])]
    return helper.make_model(
        helper.make_graph(nodes, "tiny", inputs, outputs, initializers),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=10,
    )
