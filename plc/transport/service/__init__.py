"""Services for an operator of streams: control, events, pages over HTTP, recordings."""
