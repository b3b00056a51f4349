"""Datagrams to a steady stream of samples and back.

RTP packets come in with the time of their arrival, and samples go out at a steady pace; clocks are
passed in, and only :mod:`.udp` has sockets. :class:`.playout.Playout` is all of it for one received
stream; :class:`.config.ReceiverConfig` holds its settings.
"""
