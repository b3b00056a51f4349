"""Manifests of models, and checks of their files.

In come names and paths; out come checked manifests and summaries of ONNX files.
Nothing is run here.
"""
