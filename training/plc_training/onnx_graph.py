"""A torch network as the bytes of an ONNX file.

Traced by ``torch.export``. A GRU is handed over as the one ONNX operator that it is: left to the
tracer, it would be walked through frame by frame, and the graph would take one number of frames
only. What the tracer notes beside the graph (source lines, paths of this machine) is dropped.
"""

import copy
import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from plc.errors import MissingExtraError

# The newest whose operators ONNX Runtime 1.20, the oldest that is supported, knows throughout.
OPSET = 20

Axes = dict[int, str]


def to_onnx(
    network: nn.Module,
    inputs: dict[str, Tensor],
    axes: dict[str, Axes],
    output: str,
) -> bytes:
    """Return the network's graph.

    Parameters
    ----------
    network : nn.Module
        In evaluation mode; left as it is.
    inputs : dict
        Examples of its arguments by name, in order; a free axis must not have the size 1.
    axes : dict
        For each input, the axes that are free and their names.
    output : str
        Name of the output.

    Raises
    ------
    MissingExtraError
        If the packages ``onnx`` and ``onnxscript`` are not installed.
    """
    try:
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise MissingExtraError(
            f"plc export needs {error.name}: pip install 'plc-engine[train]'"
        ) from error
    dims = {name: torch.export.Dim(name) for of_one in axes.values() for name in of_one.values()}
    with _quiet(), torch.no_grad():
        program = torch.onnx.export(
            _with_onnx_grus(network),
            tuple(inputs.values()),
            input_names=list(inputs),
            output_names=[output],
            dynamic_shapes=tuple(
                {axis: dims[name] for axis, name in axes[each].items()} for each in inputs
            ),
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    model = program.model_proto
    _strip(model)
    data: bytes = model.SerializeToString(deterministic=True)
    return data


class _OnnxGru(nn.Module):
    """A GRU of one layer whose forward is ONNX's operator; only for export.

    Gates stand in the order update, reset, new (torch: reset, update, new).
    """

    inputs: Tensor
    recurrent: Tensor
    biases: Tensor

    def __init__(self, gru: nn.GRU) -> None:
        super().__init__()
        assert gru.num_layers == 1
        assert gru.batch_first
        assert gru.bias
        self.hidden = gru.hidden_size
        self.directions = ["", "_reverse"] if gru.bidirectional else [""]
        weights = dict(gru.named_parameters())

        def stacked(name: str) -> Tensor:
            return torch.stack([_reordered(weights[name + way]) for way in self.directions])

        biases = torch.cat([stacked("bias_ih_l0"), stacked("bias_hh_l0")], dim=1)
        self.register_buffer("inputs", stacked("weight_ih_l0").detach())
        self.register_buffer("recurrent", stacked("weight_hh_l0").detach())
        self.register_buffer("biases", biases.detach())

    def forward(self, x: Tensor) -> tuple[Tensor]:
        batch, frames, _ = x.shape
        directions = len(self.directions)
        y = torch.onnx.ops.symbolic(
            "GRU",
            (x.transpose(0, 1), self.inputs, self.recurrent, self.biases),
            {
                "hidden_size": self.hidden,
                "linear_before_reset": 1,
                "direction": "bidirectional" if directions == 2 else "forward",
            },
            dtype=x.dtype,
            shape=(frames, directions, batch, self.hidden),
            version=OPSET,
        )
        return (y.permute(2, 0, 1, 3).reshape(batch, frames, directions * self.hidden),)


def _reordered(weight: Tensor) -> Tensor:
    reset, update, new = weight.chunk(3)
    return torch.cat([update, reset, new])


def _with_onnx_grus(network: nn.Module) -> nn.Module:
    made = copy.deepcopy(network)
    for name, module in list(made.named_modules()):
        if isinstance(module, nn.GRU):
            parent, _, field = name.rpartition(".")
            setattr(made.get_submodule(parent), field, _OnnxGru(module))
    return made


def _strip(model: object) -> None:
    """Remove comments and the tracer's notes."""
    graph = model.graph  # type: ignore[attr-defined]  # a protobuf class, made at run time
    lists: Sequence[Sequence[object]] = (
        [model, graph],
        graph.node,
        graph.value_info,
        graph.input,
        graph.output,
        graph.initializer,
    )
    for part in (part for parts in lists for part in parts):
        part.ClearField("doc_string")  # type: ignore[attr-defined]
        part.ClearField("metadata_props")  # type: ignore[attr-defined]


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's remarks about its own future from the user."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        finally:
            logger.setLevel(level)
