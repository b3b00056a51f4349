"""Live streams: :mod:`.rtp` makes steady samples of datagrams, :mod:`.relay` serves a network.

:mod:`.live` plays and sends at sound cards; :mod:`.service` has what an operator needs.
"""
