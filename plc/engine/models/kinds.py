"""The kinds of networks: uses and opener of each.

This table is the one place in ``plc`` that names :mod:`plc.papers`. What a line names is imported
on use.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pkgutil import resolve_name
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A kind of networks: its uses, and its opener as ``"module:name"``."""

    stream: str = ""
    """What a network does in a stream: ``"causal"``, ``"bridge"`` or nothing."""
    filler: str = ""
    """What fills a stream's gaps where the step's own networks do not: a callable of a
    :class:`~plc.engine.runtime.worker.StreamContext`, the lookahead and the manifest
    (:class:`plc.engine.stream.waiting_encoder.WaitingEncoder`)."""
    gaps: str = ""
    """What fills gaps of files (:class:`plc.engine.networks.gap_filler.GapFiller`): a callable of
    manifests, at least one, and the sample rate in Hz."""
    generator: str = ""
    """What makes sounds of its own: a callable of the manifest."""
    own_ports: bool = True
    """Whether the networks have inputs of their own; they may see nothing in a gap."""
    variants: bool = False
    """Whether another seed is another fill."""
    context_s: float = 0.0
    """What is looked at on either side of a gap, where that is more than usual."""


KINDS: Mapping[str, Kind] = {
    "causal": Kind(stream="causal", own_ports=False),
    "bridge": Kind(stream="bridge", own_ports=False),
    "inpaint": Kind(gaps="plc.files.fill.networks:open_filler", own_ports=False),
    "context_encoder": Kind(
        stream="bridge",
        filler="plc.engine.stream.waiting_encoder:WaitingEncoder",
        gaps="plc.engine.networks.encoder:open_filler",
    ),
    "restore": Kind(gaps="plc.papers.restore:open_filler"),
    "stroke": Kind(gaps="plc.papers.stroke:open_filler"),
    "gacela": Kind(gaps="plc.papers.gacela:open_filler", variants=True, context_s=12.0),
    "notes": Kind(generator="plc.papers.notes:NoteGenerator"),
}
"""For streams: fills from the past; from the past and the packets that a stream waits for. For
files: fills from both sides; the context encoder of Marafioti et al. 2019; lost frames of a
spectrogram; a stroke of speech in one; a generator of long gaps. For none: a generator of notes."""


def opener(place: str) -> Callable[..., Any]:
    """Return the function named by ``"module:name"`` of a :class:`Kind`."""
    found: Callable[..., Any] = resolve_name(place)
    return found
