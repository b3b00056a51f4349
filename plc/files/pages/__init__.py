"""Pages and pictures of results: to listen to, and to look at."""
