"""Train the demo models from scratch: `make demo-model`. Nothing else in the library imports this package.

Four stages, each of a fixed number of steps from fixed seeds, so that the same machine gives the same weights:

A  `vision_stage`: the vision tower and the projector learn to turn a frame into *slot tokens* (see `slots`).
B  `language_stage`: at the same time, the language model learns to answer from ideal slot tokens with noise.
C  `joint_stage`: the language model learns to answer from the imperfect tokens of stage A.
D  `encoder_stage`: a dual encoder, a model of its own, learns from the vision of stage A which texts fit a frame.

Slot tokens have meanings fixed in advance, so that A and B can learn at the same time.
"""
