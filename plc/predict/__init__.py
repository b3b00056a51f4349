"""What a gap may sound like, from samples alone.

In come a stream's past and, where it is known, what follows the gap; out come samples.
No ONNX Runtime, no threads.
"""
