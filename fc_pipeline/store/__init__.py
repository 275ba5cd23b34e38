"""Postgres: sessions and locks, retries, the schema with its migrations, and the pipeline's own bookkeeping."""
