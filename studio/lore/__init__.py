"""Lore: raw text for continued pre-training."""
