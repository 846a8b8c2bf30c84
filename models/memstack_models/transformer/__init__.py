"""The model: a decoder whose chosen layers attend to a memory."""
