"""Prefect flows decide where and when work runs. The tasks and the library below them do the work."""
