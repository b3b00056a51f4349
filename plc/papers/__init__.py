"""Networks of papers: fills for gaps of files, and generated notes."""
