"""Kernels that are called directly."""

import numpy as np
import pytest

from plc import Concealer
from plc.compiled import DirectCall
from plc.engine.stream import concealer
from plc_kernels.stream.layout import STATS
from plc_kernels.stream.step import step_many
from tests.installed import needs_numba


@needs_numba
def test_a_stream_calls_its_step_without_a_look_at_types() -> None:
    Concealer(8_000, packet_samples=80, method="ar").close()
    assert len(step_many.overloads) == 1
    assert concealer._step.run is not step_many
    (compiled,) = step_many.overloads.values()
    assert concealer._step.run is getattr(compiled, "entry_point")  # noqa: B009  # not in stubs


def test_arguments_of_other_types_are_refused_and_change_nothing() -> None:
    stream = Concealer(8_000, packet_samples=80, method="ar")
    stream.push(np.zeros((80, 1), np.float32))
    before = stream._block[STATS:].copy()
    for wrong in (None, "block", [1, 2]):
        with pytest.raises(TypeError):
            concealer._step.run(wrong, 0, 0, 0, False, stream._memory.missing, 0, 0, 0, 1)
    np.testing.assert_array_equal(stream._block[STATS:], before)


def test_what_is_not_compiled_for_one_kind_alone_is_called_as_it_is() -> None:
    for kernel in (len, type("Kernel", (), {"overloads": {1: None, 2: None}})()):
        call = DirectCall(kernel)
        call.settle()
        assert call.run is kernel
