"""The raw log as Parquet, local or in an object store. Knows nothing of Postgres or Dagster."""
