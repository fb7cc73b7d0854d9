"""Built-in extractors, one file per kind."""
