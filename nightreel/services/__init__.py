"""Embedded services: a Postgres and a Prefect server of one's own, for those who have set neither."""
