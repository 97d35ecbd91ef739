"""The review: two replies side by side, names hidden until the vote."""
