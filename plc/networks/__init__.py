"""Fill gaps with networks: in streams, and in files.

In come histories and drafts; spectra go to a network, and samples come out. :mod:`.streams` fills
what is lost within a packet's time, :mod:`.files` gaps of which both sides are known; both have
their :mod:`.drafts` and :mod:`.spectra` from here.
"""
