"""Prefect tasks: one file a stage, each a decorator and one or two calls into the library."""
