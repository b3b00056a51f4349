"""Networks of papers: what fills gaps of files, and generates notes, from their ONNX files."""
