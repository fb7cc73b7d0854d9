"""Built-in patchifiers, one file per kind."""
