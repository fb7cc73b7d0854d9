"""Recipes: the schema, strict structuring, and loading from TOML."""
