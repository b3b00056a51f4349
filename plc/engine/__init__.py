"""Conceal live streams: packets come in, some of them lost; as many samples go out.

:mod:`~plc.engine.concealer` has one stream, :mod:`~plc.engine.pool` many. :mod:`.predict` continues
sound by prediction, :mod:`.networks` by networks; :mod:`.models` checks their files, and
:mod:`.runtime` runs them.
"""
