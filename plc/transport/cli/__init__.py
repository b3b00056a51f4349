"""The commands that touch sound cards and the network."""
