"""``plcconceal``, a GStreamer element that conceals lost packets.

:mod:`~plc.embed.gstreamer.timeline` cuts buffers and gaps into packets, and knows no GStreamer;
:mod:`~plc.embed.gstreamer.element` is the element, loaded by GStreamer's own Python;
:mod:`~plc.embed.gstreamer.install` puts a file where GStreamer finds it.
"""
