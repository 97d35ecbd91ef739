"""What people already have, read as dialogue: one small module for each family of formats."""
