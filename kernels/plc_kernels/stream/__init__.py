"""One stream's step, compiled: its whole state is one block of memory."""
