"""Streams that live: packets from a network or a sound card, and back.

:mod:`.rtp` makes steady samples of datagrams, :mod:`.relay` serves streams of a network,
:mod:`.live` plays and sends at sound cards (:mod:`.cards`), and :mod:`.service` has what an
operator needs: control, events, metrics.
"""
