"""Tables and raw log held against each other, and made equal again. Knows no Dagster."""
