"""What the watcher of alerts reads of Dagster's own storage, and of the replica by the checks' rules."""
