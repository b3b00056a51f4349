"""Predictions of a gap, from samples alone.

In come a stream's past and, where it is known, what follows the gap; out come samples.
No ONNX Runtime, no threads.
"""
