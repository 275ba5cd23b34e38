"""Asset checks: what must hold of the raw log and the tables."""
