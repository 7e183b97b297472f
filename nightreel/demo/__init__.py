"""What `nightreel demo` brings along: a model that needs no download, and clips with known truth."""

from pathlib import Path

MODEL_DIRECTORY = Path(__file__).parent / "model"
"""The committed demo model, which `training` makes and `NIGHTREEL_MODEL=demo` stands for."""
DISCLAIMER = "the demo model knows moving shapes alone: of other videos its answers mean nothing (NIGHTREEL_MODEL)"
