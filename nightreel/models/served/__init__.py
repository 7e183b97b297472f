"""A model on an OpenAI-compatible server. Needs no torch."""
