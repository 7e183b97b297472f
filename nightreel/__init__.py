"""Nightreel: batch video analysis with video LLMs. The library: everything a step does, nothing of Prefect."""

__version__ = "0.1.0"
