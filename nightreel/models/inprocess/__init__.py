"""A transformers model in this process: frames to features, features and prompts to scores and texts."""
