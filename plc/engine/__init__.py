"""Conceal live streams.

Packets come in, some of them lost; as many samples go out. :mod:`~plc.engine.concealer` has one
stream, :mod:`~plc.engine.pool` many. :mod:`.predict` continues sound by prediction,
:mod:`.networks` by networks, whose files :mod:`.models` checks and :mod:`.runtime` runs.
"""
