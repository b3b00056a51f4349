"""Datagrams to a steady stream of samples and back.

RTP packets come in with the time of their arrival, and samples go out at a steady pace; clocks
are passed in, and only :mod:`~plc.rtp.udp` has sockets. :class:`Playout` is all of it for one
received stream; :class:`ReceiverConfig` holds its settings.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from plc.rtp.config import ReceiverConfig
    from plc.rtp.playout import Playout

__all__ = ["Playout", "ReceiverConfig"]


def __getattr__(name: str) -> object:
    """Import the playout and its settings on first use."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from plc.rtp.config import ReceiverConfig
    from plc.rtp.playout import Playout

    globals().update(Playout=Playout, ReceiverConfig=ReceiverConfig)
    return globals()[name]
