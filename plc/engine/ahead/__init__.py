"""Bursts prepared before the loss, and how much of that there is time for."""
