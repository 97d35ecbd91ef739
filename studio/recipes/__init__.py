"""Recipes: small typed TOML files that say how one stage is done, every value explained."""
