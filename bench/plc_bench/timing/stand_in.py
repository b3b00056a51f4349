"""A network of the network's contract with random weights: for measuring time, not quality."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np

from plc import __version__
from plc.errors import MissingExtraError
from plc.models.manifest import FORMAT, Manifest

_OPSET = 18
_CONTEXT_FRAMES = 8


def write_stand_in(folder: Path, channels: int = 12, layers: int = 3, seed: int = 0) -> Manifest:
    """Write a convolutional network and return its manifest.

    Parameters
    ----------
    folder : Path
        Where ``stand-in.onnx`` and ``stand-in.json`` go.
    channels, layers : int
        Its size: ``layers`` convolutions of 3 by 3 between the first and the last. By default
        a gap of 10 ms at 48 kHz takes 0.6 ms on one core of a server.
    seed : int
        Of the weights.

    Raises
    ------
    MissingExtraError
        If ``onnx`` is not installed.
    """
    try:
        import onnx
    except ImportError as error:
        raise MissingExtraError(
            "a stand-in network is built by onnx: pip install onnx, or give a --model"
        ) from error
    model = _build(onnx, channels, layers, np.random.default_rng(seed))
    data: bytes = model.SerializeToString()
    (folder / "stand-in.onnx").write_bytes(data)
    weights = sum(int(np.prod(tensor.dims)) for tensor in model.graph.initializer)
    path = folder / "stand-in.json"
    values = dict(
        name="stand-in",
        kind="causal",
        content="any",
        sha256=hashlib.sha256(data).hexdigest(),
        bytes=len(data),
        bin_hz=50.0,
        top_hz=12_000.0,
        drafts=("forward",),
        context_frames=_CONTEXT_FRAMES,
        context_frames_after=0,
        horizon_ms=60.0,
        sample_rates=(8_000, 192_000),
        parameters=weights,
        opset=_OPSET,
        licence="MIT",
        training={"recipe": "none: random weights"},
        figures={},
        created_by=__version__,
        format=FORMAT,
    )
    Manifest.from_fields(values).write(path)
    return Manifest.read(path)


def _build(onnx: Any, channels: int, layers: int, rng: np.random.Generator) -> Any:
    """Return the graph: convolutions on the only draft, added to it, context cut off."""
    helper, kinds = onnx.helper, onnx.TensorProto
    widths = [2, *[channels] * (layers + 1), 2]
    nodes = [helper.make_node("Squeeze", ["spectra", "one"], ["h0"])]
    weights = [onnx.numpy_helper.from_array(np.array([1], np.int64), "one")]
    for i in range(len(widths) - 1):
        shape = (widths[i + 1], widths[i], 3, 3)
        scale = np.sqrt(2.0 / (9 * widths[i]))
        values = (scale * rng.standard_normal(shape)).astype(np.float32)
        weights.append(onnx.numpy_helper.from_array(values, f"w{i}"))
        nodes.append(helper.make_node("Conv", [f"h{i}", f"w{i}"], [f"c{i}"], pads=[1, 1, 1, 1]))
        nodes.append(helper.make_node("Tanh" if i % 2 else "Relu", [f"c{i}"], [f"h{i + 1}"]))
    limits = {"begin": _CONTEXT_FRAMES, "end": 2**31, "axis": 3}
    for name, value in limits.items():
        weights.append(onnx.numpy_helper.from_array(np.array([value], np.int64), name))
    nodes += [
        helper.make_node("Add", ["h0", f"h{len(widths) - 1}"], ["sum"]),
        helper.make_node("Slice", ["sum", *limits], ["filled"]),
    ]
    graph = helper.make_graph(
        nodes,
        "stand-in",
        [
            helper.make_tensor_value_info("spectra", kinds.FLOAT, ["b", 1, 2, "k", "n"]),
            helper.make_tensor_value_info("lost", kinds.FLOAT, ["b", "n"]),
        ],
        [helper.make_tensor_value_info("filled", kinds.FLOAT, ["b", 2, "k", "m"])],
        weights,
    )
    opset = [helper.make_opsetid("", _OPSET)]
    return helper.make_model(graph, opset_imports=opset, ir_version=10)
