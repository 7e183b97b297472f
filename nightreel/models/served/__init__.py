"""A model behind an OpenAI-compatible server. Needs no torch."""
