"""What `nightreel demo` brings along: clips with known truth, and the training of the model that knows them."""

DISCLAIMER = "the demo model knows moving shapes alone: of other videos its answers mean nothing (NIGHTREEL_MODEL)"
