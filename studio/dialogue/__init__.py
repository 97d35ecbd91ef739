"""Dialogue: conversations for supervised fine-tuning, in OpenAI ``messages`` form."""
