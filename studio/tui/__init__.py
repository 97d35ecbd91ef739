"""The terminal face. Workers never touch widgets: they post messages, the screen owns every change of state."""
