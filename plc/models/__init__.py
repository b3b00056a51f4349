"""What a model says of itself, and whether its file is safe to open.

In come names and paths; out come checked manifests and summaries of ONNX files.
Nothing is run here.
"""
