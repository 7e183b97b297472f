"""Postgres: the tables, the pipeline's statements, and the migrations."""
