"""How Postgres is spoken to: connections, their sessions, transactions and locks."""
