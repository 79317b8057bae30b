"""Recipes of published trainings: TOML files that say where each number comes from."""
