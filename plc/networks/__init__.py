"""Fill gaps with networks: in streams, and in files.

Drafts become :mod:`.spectra`, these go to a network, and samples come out. :mod:`.files` fills gaps
of which both sides are known. Of streams the step does that; :mod:`.flat` makes its models, and
:mod:`.streams` has what takes the place of a bridge.
"""
