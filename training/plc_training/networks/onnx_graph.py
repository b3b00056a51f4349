"""Export of a torch network to ONNX, and import of its weights.

The network is traced by ``torch.export``. A GRU is exported as one ONNX operator: traced, it would
be unrolled frame by frame, and the graph would accept only one number of frames. The tracer's
annotations (source lines, local paths) are removed.

Weights that are exact in half precision or in one byte (:func:`round_weights`) are stored in that
form, which halves or quarters the file. ONNX Runtime converts them to float32 when it opens the
file, so inference time does not change.
"""

import copy
import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from plc.errors import ConfigError

# The newest whose operators ONNX Runtime 1.20, the oldest that is supported, knows throughout.
OPSET = 20

Axes = dict[int, str]

WEIGHT_BITS = (16, 8)
"""Supported bits of a stored weight."""

# Smaller tensors are stored in float32: they take little space.
_LEAST_SHORTENED = 256
# Steps of the scale in its largest weight, for weights of one byte.
_STEPS = 127
# Fewest weights with a common scale.
_LEAST_OF_A_SCALE = 8
_SMALLEST = float(np.finfo(np.float16).smallest_subnormal)


def fold_norms(network: nn.Module) -> None:
    """Fold batch normalisations into the convolutions before them, in place.

    The exporter would do so itself, but after :func:`round_weights`, whose work it would undo.

    Parameters
    ----------
    network : nn.Module
        In evaluation mode. Only neighbours in an ``nn.Sequential`` are folded.
    """
    for row in [module for module in network.modules() if isinstance(module, nn.Sequential)]:
        for i in range(1, len(row)):
            before, norm = row[i - 1], row[i]
            if isinstance(norm, nn.BatchNorm2d) and isinstance(
                before, nn.Conv2d | nn.ConvTranspose2d
            ):
                turned = isinstance(before, nn.ConvTranspose2d)
                row[i - 1] = fuse_conv_bn_eval(before, norm, transpose=turned)
                row[i] = nn.Identity()


def round_weights(network: nn.Module, bits: int = 16, axes: int = 2) -> None:
    """Round large weights in place to values of fewer bits.

    Parameters
    ----------
    network : nn.Module, to be exported
    bits : int
        16: half precision. 8: whole multiples of a scale (in half precision) for each output, or
        for each input of a convolution where that error is smaller; half precision where a scale
        would have few weights.
    axes : int
        1: scales of outputs alone, as the kernels compute with.
    """
    with torch.no_grad():
        for weight in network.parameters():
            if weight.numel() < _LEAST_SHORTENED:
                continue
            # Axes of the outputs and, in a convolution, of the inputs, with enough weights each.
            choosable = range(min(weight.dim() - 1, axes))
            usable = [a for a in choosable if weight.numel() >= _LEAST_OF_A_SCALE * weight.shape[a]]
            if bits == 8 and usable:
                choices = [_in_steps(weight, axis) for axis in usable]
                errors = [float(((choice - weight) ** 2).sum()) for choice in choices]
                weight.copy_(choices[int(np.argmin(errors))])
            else:
                weight.copy_(weight.half())


def _in_steps(weight: Tensor, axis: int) -> Tensor:
    """Return weights rounded to multiples of a scale for each index."""
    others = [k for k in range(weight.dim()) if k != axis]
    exact = weight.abs().amax(dim=others, keepdim=True) / _STEPS
    half = exact.half()
    # Rounded down, so that the largest weight has all steps, by which the exporter knows the scale:
    # small scales have few bits in half precision.
    bits = half.view(torch.int16) - (half.float() > exact).to(torch.int16)
    scale = bits.view(torch.half).float()
    steps = (weight / scale.clamp_min(_SMALLEST)).round().clamp(-_STEPS, _STEPS)
    return steps * scale


def to_onnx(
    network: nn.Module, inputs: dict[str, Tensor], axes: dict[str, Axes], output: str
) -> bytes:
    """Return the network's graph as the bytes of an ONNX file.

    Parameters
    ----------
    network : nn.Module
        In evaluation mode; not changed.
    inputs : dict
        Examples of its arguments by name, in order; the size of a free axis is above 1.
    axes : dict
        For each input, its free axes and their names.
    """
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
    _shorten(model)
    data: bytes = model.SerializeToString(deterministic=True)
    return data


def load_onnx(data: bytes, network: nn.Module, label: str) -> None:
    """Load the weights of a graph of :func:`to_onnx` into a network.

    Parameters
    ----------
    network : nn.Module
        Of the same shape; all weights are replaced, or none. What the network lacks is left out;
        early adapters that the graph lacks keep their initial weights.
    label : str
        Name of the graph in messages.

    Raises
    ------
    ConfigError
        If the graph is that of another network.
    """
    graph, tensors = read_tensors(data)
    found = _state(graph, network, tensors)
    known = network.state_dict()
    try:
        network.load_state_dict({name: found[name] for name in known if name in found})
    except RuntimeError as error:
        network.load_state_dict(known)
        raise ConfigError(f"{label} holds the weights of another network: {error}") from error


def read_tensors(data: bytes) -> tuple[Any, dict[str, Tensor]]:
    """Return a graph and its weights in float32, by the graph's names."""
    graph = onnx.load_from_string(data).graph
    tensors = {
        each.name: torch.from_numpy(onnx.numpy_helper.to_array(each).copy())
        for each in graph.initializer
    }
    for node in graph.node:
        if node.op_type == "Cast" and node.input[0] in tensors:
            tensors[node.output[0]] = tensors.pop(node.input[0]).float()
        elif node.op_type == "Mul" and set(node.input) <= set(tensors):
            steps, scale = (tensors.pop(name) for name in node.input)
            tensors[node.output[0]] = steps * scale
    return graph, tensors


def _state(graph: Any, network: nn.Module, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    found = {name: value for name, value in tensors.items() if value.is_floating_point()}
    found |= _factors(graph, tensors)
    for name, module in network.named_modules():
        if isinstance(module, nn.GRU) and f"{name}.biases" in tensors:
            state = gru_state(*(tensors[f"{name}.{k}"] for k in ("inputs", "recurrent", "biases")))
            found |= {f"{name}.{key}": value for key, value in state.items()}
    for name, value in network.state_dict().items():
        # The tracer leaves out a bias of zeros.
        if name.endswith(".bias") and name.removesuffix("bias") + "weight" in found:
            found.setdefault(name, torch.zeros_like(value))
    return found


def _factors(graph: Any, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights of linear layers, found by their biases' names."""
    products = {node.output[0]: node.input[1] for node in graph.node if node.op_type == "MatMul"}
    made = {}
    for node in graph.node:
        if node.op_type != "Add":
            continue
        for one, other in (node.input, reversed(node.input)):
            if other.endswith(".bias") and products.get(one) in tensors:
                made[other.removesuffix("bias") + "weight"] = tensors[products[one]].T.contiguous()
    return made


def gru_state(by_input: Tensor, recurrent: Tensor, biases: Tensor) -> dict[str, Tensor]:
    """Return the weights of a GRU of ONNX with torch's names and order of gates."""
    pairs = zip(by_input, recurrent, *biases.chunk(2, dim=1), strict=True)
    names = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
    # The reordering exchanges two gates, and is its own inverse.
    return {
        name + way: _reordered(weight)
        for way, weights in zip(("", "_reverse"), pairs, strict=False)
        for name, weight in zip(names, weights, strict=True)
    }


class _OnnxGru(nn.Module):
    """A one-layer GRU that exports as ONNX's operator.

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


def _strip(model: Any) -> None:
    """Remove comments and the tracer's annotations."""
    graph = model.graph
    lists: Sequence[Sequence[Any]] = (
        [model, graph],
        graph.node,
        graph.value_info,
        graph.input,
        graph.output,
        graph.initializer,
    )
    for part in (part for parts in lists for part in parts):
        part.ClearField("doc_string")
        part.ClearField("metadata_props")


def _shorten(model: Any) -> None:
    """Store weights in half precision or bytes where that is exact.

    Operators that ONNX Runtime evaluates once, on loading, convert them to float32.
    """
    graph = model.graph
    widened = []
    scales = []

    def as_float(name: str, out: str) -> None:
        node = onnx.helper.make_node("Cast", [name], [out], to=onnx.TensorProto.FLOAT)
        widened.append(node)

    for tensor in graph.initializer:
        weights = onnx.numpy_helper.to_array(tensor)
        if tensor.data_type != onnx.TensorProto.FLOAT or weights.size < _LEAST_SHORTENED:
            continue
        name = tensor.name
        if (found := _in_bytes(weights)) is not None:
            steps, scale = found
            tensor.CopyFrom(onnx.numpy_helper.from_array(steps, f"{name}.steps"))
            scales.append(onnx.numpy_helper.from_array(scale, f"{name}.scale"))
            as_float(f"{name}.steps", f"{name}.whole")
            names = [f"{name}.whole", f"{name}.scale"]
            widened.append(onnx.helper.make_node("Mul", names, [name]))
            continue
        with np.errstate(over="ignore"):
            halved = weights.astype(np.float16)
        if np.array_equal(halved.astype(np.float32), weights):
            tensor.CopyFrom(onnx.numpy_helper.from_array(halved, f"{name}.half"))
            as_float(f"{name}.half", name)
    graph.initializer.extend(scales)
    nodes = list(graph.node)
    del graph.node[:]
    graph.node.extend([*widened, *nodes])
    # The types of inner tensors are not needed.
    del graph.value_info[:]


def _in_bytes(weights: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32]] | None:
    """Return weights as whole steps and a scale, or None.

    The scale broadcasts over the steps: one for each index of an axis or, for bidirectional GRUs,
    of all axes but the last.
    """
    axes = range(weights.ndim)
    of_outputs = [tuple(k for k in axes if k != axis) for axis in axes] if weights.ndim > 1 else []
    for others in [*of_outputs, (weights.ndim - 1,)]:
        scale = np.abs(weights).max(axis=others, keepdims=True) / np.float32(_STEPS)
        steps = np.rint(weights / np.maximum(scale, np.float32(_SMALLEST))).astype(np.int8)
        if _LEAST_OF_A_SCALE * scale.size <= weights.size and np.array_equal(
            steps * scale, weights
        ):
            return steps, scale
    return None


@contextmanager
def _quiet() -> Iterator[None]:
    """Suppress the exporter's deprecation warnings and log lines."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        finally:
            logger.setLevel(level)
