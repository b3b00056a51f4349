"""Sound as arrays that a network may learn, and back: nine representations, one interface.

In come samples; out come arrays of channels, rows and frames, and from these samples again.
:func:`~plc.papers.representations.named.representation` makes each by its name. No files, no
networks.
"""
