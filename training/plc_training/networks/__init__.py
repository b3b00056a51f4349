"""Networks as torch modules, and their ONNX files."""
