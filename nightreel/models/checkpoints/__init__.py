"""Find a model: its files, their revision, and what they need on this machine. Needs no torch."""

from pathlib import Path

DEMO_DIRECTORY = Path(__file__).parent / "demo"
"""The committed demo model for `NIGHTREEL_MODEL=demo`; `nightreel.demo.training` makes it."""

DEMO_ENCODER_DIRECTORY = Path(__file__).parent / "demo_encoder"
"""The committed dual encoder for `NIGHTREEL_EMBEDDING_MODEL=demo`; `nightreel.demo.training` makes it."""
