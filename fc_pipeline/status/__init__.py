"""The state of the replica and of what it depends on, for people and monitoring."""
