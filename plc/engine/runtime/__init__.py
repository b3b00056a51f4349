"""Run a network in time: ONNX Runtime, its providers, and a worker thread.

In come arrays and a deadline; out come arrays, or that there was no time.
Nothing here knows sound.
"""
