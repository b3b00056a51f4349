"""Fill gaps with networks.

In come histories and drafts; spectra go to a network, and samples come out.
"""
