"""Fill gaps with networks.

Drafts become spectra (:mod:`.gap_spectra`), these go to a network, and samples come out. In streams
the step does that; :mod:`.flat` makes its models, :mod:`.waiting_encoder` takes the place of a
bridge. :mod:`.gap_filler` is the interface of networks that fill gaps of files.
"""
