"""Pages, pictures and tables made of results."""
