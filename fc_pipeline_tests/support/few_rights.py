"""A role of a test's database that may do few things."""

from collections.abc import Generator
from contextlib import contextmanager

import sqlalchemy as sa

__all__ = ["READER", "role"]

READER = (
    "GRANT USAGE ON SCHEMA pipeline TO role",
    "GRANT SELECT ON ALL TABLES IN SCHEMA public, pipeline TO role",
)
"""What gives the right to read every table, and no other."""


@contextmanager
def role(database_url: str, *statements: str) -> Generator[str]:
    """The URL of a role for which these statements were executed, in which `role` is its name."""
    url = sa.make_url(database_url)
    name = f"few_{url.database}"
    engine = sa.create_engine(url.set(drivername="postgresql+psycopg2"), isolation_level="AUTOCOMMIT")
    with engine.connect() as admin:
        admin.exec_driver_sql(f"CREATE ROLE {name} LOGIN PASSWORD 'few'")
        try:
            for statement in statements:
                admin.exec_driver_sql(statement.replace("role", name))
            yield url.set(username=name, password="few").render_as_string(hide_password=False)
        finally:
            # What its sessions leave behind, such as temporary tables, is gone when they are.
            left = f"SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE usename = '{name}'"
            admin.exec_driver_sql(left)
            admin.exec_driver_sql(f"REASSIGN OWNED BY {name} TO {url.username}")
            admin.exec_driver_sql(f"DROP OWNED BY {name}")
            admin.exec_driver_sql(f"DROP ROLE {name}")
    engine.dispose()
