"""The engine inside other programs: what the sidecar, the C library and GStreamer share.

:mod:`~plc.embed.stream` is a concealer as a caller without numpy sees it: packets of one format in
and out, in memory that the caller owns, and flags that say what became of each.
:mod:`~plc.embed.library` builds ``libplc``, whose Python side is :mod:`~plc.embed.calls`.
"""
