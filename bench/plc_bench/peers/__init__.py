"""Peers: other concealers, run as they are or rebuilt from their description.

Each is one small module with a function ``peer(name)`` that makes a
:class:`~plc_bench.peers.base.Contender` of the name's options (what stands behind the colon). What
a peer needs from the system is looked for when it plays; without it, it raises a
:class:`~plc_bench.peers.base.PeerError` that names the Debian package, and the rest of a study
goes on.

A peer that works at its own sample rate gets the intact signal (it is *coded*), brings it to that
rate as its sender would, and loses the packets there; what resampling takes away is then part of
its own loss-free decode, not of its concealment.
"""

import re
from importlib import import_module

from plc.engine.stream.methods import BASELINES
from plc.errors import ConfigError
from plc_bench.peers.base import Contender, Simple

PEERS = {
    "g711": "G.711 Appendix I at 8 kHz, rebuilt from the specification",
    "jacktrip": "JackTrip's Regulator (Burg prediction), rebuilt from its source's description",
    "neteq": "WebRTC's NetEq, linked from Debian's libtgowt-dev",
    "opus": "libopus; opus:64k:voip:/path/libopus.so sets bits, application and library",
    **BASELINES,
}
"""A line of help for each, by name."""

NOT_COMPARABLE = {
    "neteq": frozenset({"nmse", "lsd", "mel", "level", "click", "peaq", "stoi", "bands"})
}
"""Metrics that are not meaningful for a peer, by name.

NetEq shifts the signal in time, so metrics by sample, by frame or at a gap's edges compare
different moments.
"""


def comparable(method: str, metric: str) -> bool:
    """Return whether a metric is meaningful for a method or a peer."""
    name = re.split("[:@ ]", method)[0]  # without options, or that it is its own decode
    return metric.partition("_")[0] not in NOT_COMPARABLE.get(name, ())


def make_peer(name: str) -> Contender:
    """Return the peer of a name such as ``opus:64k``.

    Raises
    ------
    ConfigError
        If its options are not understood.
    """
    module = name.partition(":")[0]
    if module not in PEERS:
        raise ConfigError(f"peer {name!r}: {module!r} is not understood; options stand behind :")
    if name in BASELINES:
        return Simple(name)
    if module in BASELINES:
        raise ConfigError(f"peer {name!r}: {', '.join(BASELINES)} have no options")
    made: Contender = import_module(f"{__name__}.{module}").peer(name)
    return made
