"""What `nightreel demo` brings along: a model that needs no download, and clips with known truth."""

from pathlib import Path

MODEL_DIRECTORY = Path(__file__).parent / "model"
"""The committed demo model, which `training` makes and `NIGHTREEL_MODEL=demo` stands for."""
