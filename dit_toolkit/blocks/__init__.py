"""Built-in blocks, one file per kind."""
