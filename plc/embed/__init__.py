"""The engine inside other programs: C library, LADSPA, GStreamer, aiortc, WebAssembly.

:mod:`~plc.embed.library` builds ``libplc``, which has no Python in it.
"""
