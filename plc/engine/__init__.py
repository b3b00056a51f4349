"""Conceal live streams: packets come in, some of them lost; as many samples go out.

:mod:`.stream` has one stream, :mod:`.many` many, :mod:`.ahead` prepares bursts before a loss.
:mod:`.predict` continues sound by prediction, :mod:`.networks` by networks; :mod:`.models` checks
their files, and :mod:`.runtime` runs them.
"""
