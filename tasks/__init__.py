"""Prefect tasks: one file for each stage. A task is a decorator and one or two calls into the library."""
