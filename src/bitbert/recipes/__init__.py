"""Recipes: what to train, as YAML files; `schema.py` reads and checks them. They name settings, never code."""
