"""Dagster's instance: its storage, how long its history is kept, who launches runs and how they end."""
