"""The stages of the pipeline, without an orchestrator: each processes a chunk with the objects that a run shares."""
