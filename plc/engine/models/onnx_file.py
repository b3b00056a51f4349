"""Inspection of an ONNX file without loading it, before the runtime sees it.

ONNX Runtime offers no option that forbids external data, sparse tensors or foreign operators, and
its metadata (inputs, outputs) is to be had only after it has parsed, optimised and partly run the
graph: releases have read files of an attacker's choice on the way. The ``onnx`` package is no
dependency of the engine. So this module walks the file's protobuf encoding itself, with an
allow-list: it follows the messages of a plain feed-forward graph and refuses every field that it
does not know, so that nothing which it did not look at can have a meaning to the runtime.

A message is a run of fields, each a number with a wire type: a varint, 4 or 8 bytes, or a length
and that many bytes, which hold text, numbers or another message (protobuf's "Encoding" page).
Fields may repeat, and a repeated message is merged: so every occurrence is looked at. Weights are
skipped over, which makes the walk as cheap as the graph is short: 0.02 ms a node.

:func:`read_graph` reads the weights too, for what computes a graph without the runtime.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plc.errors import ModelError

_VARINT, _EIGHT, _BYTES, _FOUR = 0, 1, 2, 5
# Field numbers of onnx.proto3.
_MODEL = {
    1: "ir_version",
    2: "producer_name",
    3: "producer_version",
    4: "domain",
    5: "model_version",
    6: "doc_string",
    7: "graph",
    8: "opset_import",
    14: "metadata_props",
}
_GRAPH = {
    1: "node",
    2: "name",
    5: "initializer",
    10: "doc_string",
    11: "input",
    12: "output",
    13: "value_info",
    16: "metadata_props",
}
_NODE = {
    1: "input",
    2: "output",
    3: "name",
    4: "op_type",
    5: "attribute",
    6: "doc_string",
    7: "domain",
    9: "metadata_props",
}
_ATTRIBUTE = {
    1: "name",
    2: "f",
    3: "i",
    4: "s",
    5: "t",
    7: "floats",
    8: "ints",
    9: "strings",
    10: "tensors",
    13: "doc_string",
    20: "type",
}
_TENSOR = {
    1: "dims",
    2: "data_type",
    4: "float_data",
    5: "int32_data",
    6: "string_data",
    7: "int64_data",
    8: "name",
    9: "raw_data",
    10: "double_data",
    11: "uint64_data",
    12: "doc_string",
    14: "data_location",
    16: "metadata_props",
}
_REFUSED = {
    ("model", 20): "training information",
    ("model", 25): "functions of its own",
    ("graph", 14): "quantisation annotations",
    ("graph", 15): "sparse tensors",
    ("attribute", 6): "a subgraph (control flow)",
    ("attribute", 11): "subgraphs (control flow)",
    ("attribute", 22): "a sparse tensor",
    ("attribute", 23): "sparse tensors",
    ("tensor", 13): "external data",
    ("type", 8): "a sparse tensor",
}
"""Contents of refused fields that files are known to hold."""

_STANDARD_DOMAINS = ("", "ai.onnx")
_FLOAT, _INT8, _INT64, _HALF = 1, 3, 7, 10
# TensorProto.DataType, of what weights are stored as: little-endian in ``raw_data``.
_DTYPES = {_FLOAT: "<f4", _INT8: "<i1", 6: "<i4", _INT64: "<i8", 9: "?", _HALF: "<f2"}
# In bytes: larger tensors are weights, smaller ones say how the graph computes.
_LARGEST_CONSTANT, _LARGEST_REAL = 128, 16
MAX_NODES = 20_000


@dataclass(slots=True)
class Port:
    """An input or output of a graph; None and names are free dimensions."""

    name: str = ""
    element_type: int = 0
    shape: list[int | str | None] = field(default_factory=list)

    def __str__(self) -> str:
        """Return the name and the shape."""
        inner = ", ".join("?" if size is None else str(size) for size in self.shape)
        return f"{self.name} ({inner})"


@dataclass(slots=True)
class GraphSummary:
    """Inputs, outputs and operators of an ONNX file."""

    inputs: list[Port] = field(default_factory=list)
    outputs: list[Port] = field(default_factory=list)
    initializers: set[str] = field(default_factory=set)
    operators: dict[str, int] = field(default_factory=dict)
    """How many nodes of each type there are."""
    opset: int = 0


@dataclass(slots=True)
class StoredTensor:
    """A tensor as it lies in an ONNX file."""

    name: str = ""
    element_type: int = 0
    shape: list[int] = field(default_factory=list)
    raw: memoryview | None = None
    """Its numbers; None where they are stored in another way."""

    def array(self) -> NDArray[Any] | None:
        """Return its numbers; None where they are of another type or number than it says."""
        dtype = _DTYPES.get(self.element_type)
        if dtype is None or self.raw is None or len(self.raw) % np.dtype(dtype).itemsize:
            return None
        numbers = np.frombuffer(self.raw, dtype)
        size = 1
        for each in self.shape:
            size *= each
        return numbers.reshape(self.shape) if numbers.size == size else None


@dataclass(frozen=True, slots=True)
class Graph:
    """A graph with its weights, as they lie in an ONNX file."""

    summary: GraphSummary
    """What it says about itself."""
    fingerprint: str
    """SHA-256 of nodes, in the order of the file, names and small constants, but for what widens
    weights. Graphs of the same one compute the same function of their weights."""
    tensors: dict[str, StoredTensor]
    """Those of the file by name."""
    widened: list[tuple[str, list[str], str]]
    """Operator, inputs and output of each node that may widen a weight."""

    def weights(self) -> dict[str, NDArray[np.float32]]:
        """Return tensors by name in float32.

        Those that are stored as float16 or int8 are widened as the graph does it.
        """
        found = {
            name: array
            for name, each in self.tensors.items()
            if (array := each.array()) is not None
        }
        for operator, inputs, output in self.widened:
            if not set(inputs) <= set(found):
                continue
            if operator == "Cast":
                found[output] = found.pop(inputs[0]).astype(np.float32)
            elif len(inputs) == 2:
                steps, scale = (found.pop(name) for name in inputs)
                if steps.ndim == scale.ndim and all(
                    size in (1, whole) for size, whole in zip(scale.shape, steps.shape, strict=True)
                ):
                    found[output] = steps * scale
        return {name: each for name, each in found.items() if each.dtype == np.float32}


def read_graph(data: bytes, label: str) -> Graph:
    """Return a plain graph of a file's bytes, with its weights; messages call it by its label.

    Raises
    ------
    ModelError
        If it is damaged, or uses anything beyond standard operators on dense tensors that lie in
        the file itself.
    """
    reader = _Reader(label)
    summary = reader.model(data)
    return Graph(summary, reader.fingerprint(summary), reader.tensors, reader.widened)


Value = int | memoryview


class _Walk:
    def __init__(self, label: str) -> None:
        self._label = label
        self._nodes = 0

    def _refuse(self, what: str) -> ModelError:
        return ModelError(
            f"{self._label}: {what}; a model is one file of standard ONNX operators on dense "
            "tensors: export it with plc export"
        )

    def model(self, data: bytes) -> GraphSummary:
        found = GraphSummary()
        graphs = 0
        for name, value in self._fields(memoryview(data), _MODEL, "model"):
            if name == "graph":
                graphs += 1
                self._graph(self._bytes(value), found)
            elif name == "opset_import":
                found.opset = max(found.opset, self._opset(self._bytes(value)))
        if graphs != 1:
            raise self._refuse(f"holds {graphs} graphs, so it is no ONNX file or a damaged one")
        if not found.opset:
            raise self._refuse("says no version of the standard operators")
        return found

    def _opset(self, data: memoryview) -> int:
        version = 0
        for name, value in self._fields(data, {1: "domain", 2: "version"}, "opset"):
            if name == "version":
                version = self._int(value)
            elif self._string(value) not in _STANDARD_DOMAINS:
                raise self._refuse(f"uses the foreign operators {self._string(value)[:60]!r}")
        return version

    def _graph(self, data: memoryview, found: GraphSummary) -> None:
        for name, value in self._fields(data, _GRAPH, "graph"):
            if name == "node":
                self._node(self._bytes(value), found)
            elif name == "initializer":
                found.initializers.add(self._initializer(self._bytes(value)))
            elif name in ("input", "output"):
                ports = found.inputs if name == "input" else found.outputs
                ports.append(self._port(self._bytes(value)))

    def _node(self, data: memoryview, found: GraphSummary) -> None:
        self._nodes += 1
        if self._nodes > MAX_NODES:
            raise self._refuse(f"has more than {MAX_NODES} nodes")
        operator = ""
        for name, value in self._fields(data, _NODE, "node"):
            if name == "op_type":
                operator = self._string(value)
            elif name == "domain" and self._string(value) not in _STANDARD_DOMAINS:
                raise self._refuse(f"uses the foreign operators {self._string(value)[:60]!r}")
            elif name == "attribute":
                self._attribute(self._bytes(value))
        found.operators[operator] = found.operators.get(operator, 0) + 1

    def _attribute(self, data: memoryview) -> None:
        for name, value in self._fields(data, _ATTRIBUTE, "attribute"):
            if name in ("t", "tensors"):
                self._tensor(self._bytes(value))

    def _initializer(self, data: memoryview) -> str:
        return self._tensor(data)

    def _tensor(self, data: memoryview) -> str:
        called = ""
        for name, value in self._fields(data, _TENSOR, "tensor"):
            if name == "name":
                called = self._string(value)
            elif name == "data_location" and value != 0:
                raise self._refuse("holds external data")
        return called

    def _port(self, data: memoryview) -> Port:
        port = Port()
        known = {1: "name", 2: "type", 3: "doc_string", 4: "metadata_props"}
        for name, value in self._fields(data, known, "value"):
            if name == "name":
                port.name = self._string(value)
            elif name == "type":
                self._type(self._bytes(value), port)
        return port

    def _type(self, data: memoryview, port: Port) -> None:
        for name, value in self._fields(data, {1: "tensor_type", 6: "denotation"}, "type"):
            if name != "tensor_type":
                continue
            known = {1: "elem_type", 2: "shape"}
            for part, inner in self._fields(self._bytes(value), known, "tensor type"):
                if part == "elem_type":
                    port.element_type = self._int(inner)
                else:
                    self._shape(self._bytes(inner), port)

    def _shape(self, data: memoryview, port: Port) -> None:
        for _, value in self._fields(data, {1: "dim"}, "shape"):
            size: int | str | None = None
            known = {1: "dim_value", 2: "dim_param", 3: "denotation"}
            for part, inner in self._fields(self._bytes(value), known, "dimension"):
                if part == "dim_value":
                    size = self._int(inner)
                elif part == "dim_param":
                    size = self._string(inner)
            port.shape.append(size)

    def _fields(
        self, data: memoryview, known: dict[int, str], message: str
    ) -> Iterator[tuple[str, Value]]:
        place = 0
        while place < len(data):
            tag, place = self._varint(data, place)
            number, wire = tag >> 3, tag & 7
            if number not in known:
                what = _REFUSED.get((message, number))
                raise self._refuse(
                    f"holds {what}" if what else f"field {number} of a {message} is unknown"
                )
            value: Value
            if wire == _VARINT:
                value, place = self._varint(data, place)
            else:
                if wire == _BYTES:
                    size, place = self._varint(data, place)
                elif wire in (_FOUR, _EIGHT):
                    size = 4 if wire == _FOUR else 8
                else:
                    raise self._refuse(f"is damaged: wire type {wire} in a {message}")
                if size > len(data) - place:
                    raise self._refuse(f"is cut short or damaged: {size} bytes in a {message}")
                value = data[place : place + size]
                place += size
            yield known[number], value

    def _varint(self, data: memoryview, place: int) -> tuple[int, int]:
        number = 0
        for shift in range(0, 64, 7):
            if place >= len(data):
                break
            byte = data[place]
            place += 1
            number |= (byte & 0x7F) << shift
            if byte < 0x80:
                return number & ((1 << 64) - 1), place
        raise self._refuse("is cut short or damaged: a number has no end")

    def _bytes(self, value: Value) -> memoryview:
        if isinstance(value, int):
            raise self._refuse("is damaged: a number stands where a message should")
        return value

    def _int(self, value: Value) -> int:
        if not isinstance(value, int):
            raise self._refuse("is damaged: a message stands where a number should")
        return value

    def _string(self, value: Value) -> str:
        try:
            return bytes(self._bytes(value)).decode("utf-8")
        except UnicodeDecodeError:
            raise self._refuse("is damaged: a name is not UTF-8") from None


class _Reader(_Walk):
    """A walk that remembers the nodes and the tensors."""

    def __init__(self, label: str) -> None:
        super().__init__(label)
        self.tensors: dict[str, StoredTensor] = {}
        self.widened: list[tuple[str, list[str], str]] = []
        self._texts: list[tuple[str, list[str], list[str], list[bytes]]] = []

    def fingerprint(self, found: GraphSummary) -> str:
        """Return a hash of the graph's computation, equal for all ways to store its weights."""
        stored = {n for n, each in self.tensors.items() if each.element_type in (_INT8, _HALF)}
        most = {name: _LARGEST_REAL for name in self.tensors} | {
            n: _LARGEST_CONSTANT for n, each in self.tensors.items() if each.element_type != _FLOAT
        }
        weights = {n for n, each in self.tensors.items() if len(each.raw or b"") > most[n]} | stored
        digest = hashlib.sha256()
        known: dict[str, object] = {port.name: port.name for port in found.inputs}
        for operator, inputs, outputs, rest in self._texts:
            if {*inputs} <= weights and (operator == "Mul" or {*inputs} <= stored):
                weights = weights - {*inputs} | {*outputs}
                continue
            told = [known.get(name, name) for name in inputs]
            for k, name in enumerate(inputs):  # what is no weight is known by its place or value
                each = self.tensors.get(name, StoredTensor())
                if name in weights or each.raw is None:
                    continue
                value: object = bytes(each.raw).hex()
                # Sizes follow from the weights and the ports, but for 1 and those left open.
                if (operator, k) in (("Reshape", 1), ("Slice", 2)) or operator == "Concat":
                    numbers = each.array() if each.element_type == _INT64 else None
                    value = value if numbers is None else np.minimum(numbers, 2).tolist()
                told[k] = f"{each.shape} {value}"
            known |= {name: len(known) + k for k, name in enumerate(outputs)}
            digest.update(repr((rest, told)).encode())
        digest.update(repr(([known.get(p.name) for p in found.outputs], sorted(weights))).encode())
        return digest.hexdigest()

    def _node(self, data: memoryview, found: GraphSummary) -> None:
        super()._node(data, found)
        operator = ""
        rest: list[bytes] = []
        inputs: list[str] = []
        outputs: list[str] = []
        for name, value in self._fields(data, _NODE, "node"):
            if name == "op_type":
                operator = self._string(value)
            elif name in ("input", "output"):
                (inputs if name == "input" else outputs).append(self._string(value))
            if name in ("op_type", "attribute") and (text := bytes(self._bytes(value))):
                rest += [] if b"hidden_size" in text else [text]
        if operator in ("Cast", "Mul") and len(outputs) == 1:
            self.widened.append((operator, inputs, outputs[0]))
        self._texts.append((operator, inputs, outputs or [""], rest))

    def _initializer(self, data: memoryview) -> str:
        stored = StoredTensor(name=super()._initializer(data))
        for name, value in self._fields(data, _TENSOR, "tensor"):
            if name == "data_type":
                stored.element_type = self._int(value)
            elif name == "raw_data":
                stored.raw = self._bytes(value)
            elif name == "dims":
                # Several may stand packed in one field.
                stored.shape += [value] if isinstance(value, int) else self._packed(value)
        self.tensors[stored.name] = stored
        return stored.name

    def _packed(self, data: memoryview) -> list[int]:
        numbers, place = [], 0
        while place < len(data):
            number, place = self._varint(data, place)
            numbers.append(number)
        return numbers


def check_ports(
    found: GraphSummary,
    inputs: dict[str, tuple[int | None, ...]],
    outputs: dict[str, tuple[tuple[int | None, ...], ...]],
    label: str,
) -> None:
    """Compare a graph's inputs and outputs with those that the runtime binds.

    Parameters
    ----------
    found : GraphSummary, of :func:`read_graph`
    inputs : dict
        Shape by name; None where any size will do. A free size in the graph fits any.
    outputs : dict, admissible shapes by name
    label : str, what error messages call the file

    Raises
    ------
    ModelError
        If a name, a number of dimensions, a size or the type (float32) differs.
    """
    given = [port for port in found.inputs if port.name not in found.initializers]
    overridable = len(found.inputs) - len(given)
    if overridable:
        raise ModelError(f"{label}: {overridable} inputs are weights too; export it again")
    wanted = {name: (shape,) for name, shape in inputs.items()}
    for ports, expected, what in ((given, wanted, "inputs"), (found.outputs, outputs, "outputs")):
        names = [port.name for port in ports]
        if sorted(names) != sorted(expected):
            raise ModelError(
                f"{label}: {what} are {', '.join(map(str, ports)) or 'none'}; expected "
                f"{', '.join(expected)}"
            )
        for port in ports:
            if port.element_type != _FLOAT:
                raise ModelError(f"{label}: {port.name} is not float32; export it again")
            if not any(_fits(port.shape, shape) for shape in expected[port.name]):
                shapes = " or ".join(map(_shown, expected[port.name]))
                raise ModelError(f"{label}: {what} have {port}; expected {shapes}")


def _fits(given: list[int | str | None], expected: tuple[int | None, ...]) -> bool:
    if len(given) != len(expected):
        return False
    return all(
        not isinstance(size, int) or want is None or size == want
        for size, want in zip(given, expected, strict=True)
    )


def _shown(shape: tuple[int | None, ...]) -> str:
    return f"({', '.join('?' if size is None else str(size) for size in shape)})"
