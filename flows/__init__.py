"""Prefect flows: where and when. What is done is in tasks and the library below them."""
