"""Prompt sets: YAML that analysts edit, how it is read, and the words in which each kind is put to a model."""
