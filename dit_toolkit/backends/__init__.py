"""Built-in backends, one file per kind."""
