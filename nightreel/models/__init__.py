"""Video LLMs: frames to features, features and prompts to answers. The only package that may import torch."""
