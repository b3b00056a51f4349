"""Fill gaps with networks: drafts become spectra, these go to a network, and samples come out.

In streams the step does that; :mod:`.flat` makes its models. In files it is a :mod:`.gap_filler`.
"""
