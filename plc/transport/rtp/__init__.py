"""Datagrams to a steady stream of samples and back; clocks are passed in.

:class:`.playout.Playout` is all of it for a received stream, with the settings of
:class:`.config.ReceiverConfig`; only :mod:`.udp` has sockets.
"""
