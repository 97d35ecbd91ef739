"""SillyTavern: chats, world info and presets in and out, without loss."""
