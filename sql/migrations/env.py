"""Alembic's entry point: runs the migrations on the connection that nightreel.database.migrations passes in."""

from alembic import context

from nightreel.database.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table="schema_version",
    version_table_schema="nightreel",
    include_schemas=True,
)
context.run_migrations()
