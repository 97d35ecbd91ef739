"""One persona: a folder with its manifest, card, material, recipes, runs, checkpoints and reviews."""
