"""Models of other systems, in and out."""
