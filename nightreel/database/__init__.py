"""Postgres: the tables, what the pipeline says to them, and how they come to be."""
