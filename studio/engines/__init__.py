"""Engines: whatever answers the OpenAI API for checkpoints (vLLM, the embedded one, an outside URL), and the client that asks them."""
