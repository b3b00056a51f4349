"""Targets of fuzzers that are guided by what code they reach, and their corpora."""
