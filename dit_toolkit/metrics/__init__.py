"""Built-in metrics, one file per kind."""
