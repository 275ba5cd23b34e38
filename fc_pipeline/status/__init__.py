"""How the replica and what it depends on stand, for people and monitoring."""
