"""Which model it is: its files, their revision, what they need of this machine. Needs no torch."""

from pathlib import Path

DEMO_DIRECTORY = Path(__file__).parent / "demo"
"""The committed demo model, which `nightreel.demo.training` makes and `NIGHTREEL_MODEL=demo` stands for."""
