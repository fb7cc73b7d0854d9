"""Torch modules; they know nothing of recipes."""
