"""The parts of `nightreel demo`: clips with known correct answers, and the training of the demo model."""

DISCLAIMER = "the demo model knows only moving shapes: its answers about other videos mean nothing; set NIGHTREEL_MODEL"
