"""All of Dagster: what it loads, launches and shows."""
