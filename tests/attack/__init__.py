"""Attacks: what somebody does to the programs who means no good."""
