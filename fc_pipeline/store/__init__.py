"""How Postgres is spoken to: connections, their sessions and transactions."""
