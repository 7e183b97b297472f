"""The stages of the pipeline without an orchestrator: what is done to a chunk, given all that a run shares."""
