"""How the demo model is made, from nothing: `make demo-model`. Nothing else in the library imports this package.

Three stages, each of a fixed number of steps from fixed seeds, so that the same machine gives the same weights:

A  `vision_stage`: vision tower and projector learn to turn a frame into *slot tokens* (see `slots`).
B  `language_stage`: at the same time, the language model learns to answer from ideal slot tokens with noise.
C  `joint_stage`: the language model learns to live with the tokens that the vision of A really makes.

A slot token is an agreed meaning between the two sides, without which neither could begin to learn before the other.
"""
