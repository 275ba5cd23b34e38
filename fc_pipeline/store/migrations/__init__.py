"""Alembic migrations of the pipeline's database, applied by `fc_pipeline.store.schema`."""
