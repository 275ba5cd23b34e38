"""Alembic's entry: runs on the connection that `fc_pipeline.store.schema` hands over."""

from alembic import context

from fc_pipeline.store import bookkeeping, digest_tables
from fc_pipeline.tables import link_compactions, other_leaves, registry
from fc_pipeline.tables.columns import METADATA

_DECLARING = (bookkeeping, digest_tables, link_compactions, other_leaves, registry)  # importing them fills METADATA

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=METADATA,
    version_table_schema=bookkeeping.SCHEMA,
    include_schemas=True,
    include_name=context.config.attributes["include_name"],
    compare_server_default=False,
)

with context.begin_transaction():
    context.run_migrations()
