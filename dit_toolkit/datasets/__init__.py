"""Built-in datasets, one file per kind."""
