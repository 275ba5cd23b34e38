"""fc_pipeline keeps a Postgres replica of the Farcaster network, run by Dagster."""
