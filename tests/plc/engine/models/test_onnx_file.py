"""What is refused before the runtime sees it."""

import random
from pathlib import Path
from typing import Any

import pytest

from plc.engine.models.onnx_file import check_ports, read_graph
from plc.errors import ModelError
from tests.plc.tiny_models import OPSET, make_model, onnx

INPUTS: dict[str, tuple[int | None, ...]] = {
    "spectra": (None, 1, 2, None, None),
    "lost": (None, None),
}
OUTPUTS: dict[str, tuple[tuple[int | None, ...], ...]] = {"filled": ((None, 2, None, None),)}


def summary(model: Any) -> Any:
    return read_graph(model.SerializeToString(), "tiny.onnx").summary


def test_a_plain_graph_is_read_as_the_onnx_package_reads_it() -> None:
    model = make_model("lost", drafts=2)
    found = summary(model)
    assert found.opset == OPSET
    assert [port.name for port in found.inputs] == ["spectra", "lost"]
    assert found.inputs[0].shape == ["b", 2, 2, "k", "n"]
    assert found.outputs[0].shape == ["b", 2, "k", "m"]
    assert found.initializers == {tensor.name for tensor in model.graph.initializer}
    counted: dict[str, int] = {}
    for node in model.graph.node:
        counted[node.op_type] = counted.get(node.op_type, 0) + 1
    assert found.operators == counted


def external(model: Any) -> None:
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "../../etc/passwd"


def external_without_entries(model: Any) -> None:
    model.graph.initializer[0].data_location = onnx.TensorProto.EXTERNAL


def external_in_an_attribute(model: Any) -> None:
    tensor = onnx.helper.make_tensor("c", onnx.TensorProto.FLOAT, [1], [1.0])
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "weights.bin"
    model.graph.node.append(onnx.helper.make_node("Constant", [], ["c"], value=tensor))


def sparse(model: Any) -> None:
    model.graph.sparse_initializer.add()


def sparse_in_an_attribute(model: Any) -> None:
    values = onnx.helper.make_tensor("v", onnx.TensorProto.FLOAT, [1], [1.0])
    indices = onnx.helper.make_tensor("i", onnx.TensorProto.INT64, [1], [0])
    tensor = onnx.helper.make_sparse_tensor(values, indices, [4])
    model.graph.node.append(onnx.helper.make_node("Constant", [], ["c"], sparse_value=tensor))


def subgraph(model: Any) -> None:
    empty = onnx.helper.make_graph([], "branch", [], [])
    branches = {"then_branch": empty, "else_branch": empty}
    model.graph.node.append(onnx.helper.make_node("If", ["lost"], ["c"], **branches))


def foreign_operator(model: Any) -> None:
    model.graph.node[0].domain = "com.microsoft"


def foreign_operators_imported(model: Any) -> None:
    model.opset_import.append(onnx.helper.make_opsetid("evil.example", 1))


def function(model: Any) -> None:
    model.functions.add().name = "mine"


def training(model: Any) -> None:
    model.training_info.add()


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (external, "external data"),
        (external_without_entries, "external data"),
        (external_in_an_attribute, "external data"),
        (sparse, "sparse tensor"),
        (sparse_in_an_attribute, "sparse tensor"),
        (subgraph, "subgraph"),
        (foreign_operator, r"foreign operators 'com\.microsoft'"),
        (foreign_operators_imported, r"foreign operators 'evil\.example'"),
        (function, "functions of its own"),
        (training, "training information"),
    ],
)
def test_what_a_plain_graph_does_not_need_is_refused(change: Any, what: str) -> None:
    model = make_model("pass", drafts=1)
    change(model)
    with pytest.raises(ModelError, match=what):
        summary(model)


def test_a_second_graph_that_would_be_merged_into_the_first_is_refused() -> None:
    data = make_model("pass", drafts=1).SerializeToString()
    hidden = onnx.ModelProto()
    hidden.graph.node.append(onnx.helper.make_node("Evil", [], [], domain="evil.example"))
    merged = onnx.ModelProto.FromString(data + hidden.SerializeToString())
    assert merged.graph.node[-1].op_type == "Evil"  # protobuf merges, so the runtime would
    with pytest.raises(ModelError, match="foreign operators"):
        read_graph(data + hidden.SerializeToString(), "tiny.onnx")
    with pytest.raises(ModelError, match="2 graphs"):
        read_graph(data + b"\x3a\x00", "tiny.onnx")


@pytest.mark.parametrize("data", [b"", b"\x00", b"\xff" * 40, b"MZ\x90", b"{}", b"\x3a\x05ab"])
def test_what_is_no_onnx_file_is_a_model_error(data: bytes) -> None:
    with pytest.raises(ModelError, match=r"tiny\.onnx"):
        read_graph(data, "tiny.onnx")


def test_damaged_files_end_as_model_errors_and_nothing_else() -> None:
    whole = make_model("lost", drafts=2).SerializeToString()
    rng = random.Random(0)
    refused = 0
    for trial in range(3_000):
        data = bytearray(whole[: rng.randrange(len(whole))] if trial % 3 == 0 else whole)
        for _ in range(rng.randrange(1, 4)):
            if data:
                data[rng.randrange(len(data))] = rng.randrange(256)
        try:
            read_graph(bytes(data), "tiny.onnx")
        except ModelError:
            refused += 1
    assert refused > 1_500


def test_a_length_beyond_the_file_is_refused_without_reading_it() -> None:
    with pytest.raises(ModelError, match="cut short"):
        read_graph(b"\x3a\xff\xff\xff\xff\xff\xff\xff\xff\x7f", "tiny.onnx")


def test_ports_of_the_contract_fit() -> None:
    check_ports(summary(make_model("pass", drafts=1)), INPUTS, OUTPUTS, "tiny.onnx")


def rename(model: Any) -> None:
    model.graph.input[0].name = "picture"


def more_drafts(model: Any) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 3


def fewer_dimensions(model: Any) -> None:
    del model.graph.output[0].type.tensor_type.shape.dim[3]


def halves(model: Any) -> None:
    model.graph.input[1].type.tensor_type.elem_type = onnx.TensorProto.FLOAT16


def one_more_output(model: Any) -> None:
    model.graph.output.append(
        onnx.helper.make_tensor_value_info("more", onnx.TensorProto.FLOAT, [1])
    )


def weight_as_input(model: Any) -> None:
    model.graph.input.append(onnx.helper.make_tensor_value_info("line", onnx.TensorProto.INT64, []))


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (rename, r"inputs are picture .*; expected spectra, lost"),
        (more_drafts, r"inputs have spectra \(b, 3, 2, k, n\); expected \(\?, 1, 2, \?, \?\)"),
        (fewer_dimensions, r"outputs have filled \(b, 2, k\)"),
        (halves, "lost is not float32"),
        (one_more_output, "outputs are filled .*, more"),
        (weight_as_input, "weights too"),
    ],
)
def test_other_inputs_and_outputs_are_refused(change: Any, what: str) -> None:
    model = make_model("pass", drafts=1)
    change(model)
    with pytest.raises(ModelError, match=what):
        check_ports(summary(model), INPUTS, OUTPUTS, "tiny.onnx")


def test_the_check_reads_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "open", lambda *_: pytest.fail("a file was opened"))
    model = make_model("pass", drafts=1)
    external(model)
    with pytest.raises(ModelError):
        summary(model)


def test_a_node_that_names_no_operator_is_known_for_none() -> None:
    model = onnx.ModelProto.FromString(make_model("lost", drafts=2).SerializeToString())
    node = model.graph.node.add(output=["nothing"])
    node.input.append(model.graph.initializer[0].name)
    assert "" in read_graph(model.SerializeToString(), "tiny.onnx").summary.operators
