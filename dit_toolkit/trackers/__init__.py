"""Built-in trackers, one file per kind."""
