"""The terminal face. Workers never touch widgets: they post messages, the screen owns every change of state."""

import os

# Before Textual is imported. At its own 60 frames a second a key waits up to 17 ms for the next frame; a frame costs only what
# changed, so more of them cost nothing (tests/bench/review_latency.py: keys p95 33 to 8 ms at the same processor time).
os.environ.setdefault("TEXTUAL_FPS", "240")
