"""One stream: its block of memory, its concealment, and networks beside its step."""
