"""A context encoder as ONNX Runtime runs it, of torch's own exporter."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

Answer = Callable[[Tensor], NDArray[Any]]


def exported(network: torch.nn.Module, context: Tensor, path: Path) -> Answer:
    """Return what answers a batch as the exported network does; skip without the exporter."""
    pytest.importorskip("onnxscript")
    onnxruntime = pytest.importorskip("onnxruntime")
    torch.onnx.export(
        network,
        (context,),
        path,
        input_names=["context"],
        output_names=["gap"],
        dynamic_shapes={"context": {0: torch.export.Dim("batch")}},
        dynamo=True,
        external_data=False,
        verbose=False,
    )
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])

    def answer(given: Tensor) -> NDArray[Any]:
        (found,) = session.run(["gap"], {"context": given.numpy()})
        return found  # type: ignore[no-any-return]

    return answer
