"""Built-in autoencoders, one file per kind."""
