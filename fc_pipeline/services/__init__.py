"""The servers that fc_pipeline brings along: Postgres, Redis and the sample hub, where none is configured."""
