"""Built-in samplers, one file per kind."""
