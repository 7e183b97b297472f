"""Prompt sets: the YAML files that analysts edit, their loader, and the instructions added for each kind of prompt."""
