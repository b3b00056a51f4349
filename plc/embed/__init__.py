"""The engine inside other programs: sidecar, C library, GStreamer, aiortc.

Packets of one format come in and go out, in memory that the caller owns; flags say whether each was
concealed (:mod:`~plc.embed.served_stream`). Nothing here knows how to conceal.
:mod:`~plc.embed.library` builds ``libplc``, which has no Python in it.
"""
