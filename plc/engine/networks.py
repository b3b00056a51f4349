"""The networks of many streams, which run inside their step."""

from functools import cache
from typing import TYPE_CHECKING, Any

from numba import types

from plc import notice
from plc.engine.config import StreamConfig
from plc.engine.methods import stream_models
from plc.errors import ModelError, in_a_line
from plc_kernels.stream import many, network, preparation

if TYPE_CHECKING:
    from plc.networks.flat import FlatModel

_WORDS, _NUMBER = types.Array(types.int64, 1, "C"), types.int64
_BLOCKS = types.Array(types.int64, 2, "C")
KERNELS: tuple[tuple[Any, tuple[Any, ...]], ...] = (
    (network.lay_out_network, (_NUMBER, _WORDS)),
    (network.open_network, (_WORDS,)),
    (preparation.add_second, (_WORDS, types.boolean)),
    (preparation.open_second, (_WORDS, types.boolean)),
    (preparation.prepare_between, (_WORDS, _NUMBER)),
    (preparation.expect_losses, (_BLOCKS, types.Array(types.float64, 1, "C"))),
    (many.conceal_many, (_BLOCKS, *[_NUMBER] * 3, types.boolean, _WORDS, *[_NUMBER] * 3)),
)
"""What streams with a network call, and with which types."""

_SLOW_S = 1.0
_COMPILING = "compiling the step with networks, once on this machine: half a minute to a minute"


def model_for(config: StreamConfig) -> "FlatModel | None":
    """Return the network for speech of streams, ready to run in their step; None: there is none.

    One whose files are not sound is left out, which a notice tells.
    """
    if config.method != "auto" or config.model == "ar":
        return None
    from plc.networks.flat import shared_model

    manifest = stream_models("auto", config.sample_rate)[0].get("speech")
    if manifest is None or manifest.content != "speech":  # music's hears all that is played
        return None
    try:
        model = shared_model(manifest.name)
    except ModelError as error:
        notice.tell(f"the network for speech is left out: {in_a_line(error)}")
        return None
    if model is not None:
        warm_up()
    return model


@cache
def warm_up() -> None:
    """Compile or load the kernels, once; afterwards nothing is compiled in a stream."""
    with notice.if_slow(lambda: _COMPILING, _SLOW_S):
        for kernel, signature in KERNELS:
            kernel.compile(signature)
            kernel.disable_compile()
