"""Built-in objectives, one file per kind."""
