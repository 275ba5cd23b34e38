"""The folded database of the fold's own tests."""

from fc_pipeline_tests.fold.conftest import folded_database, replica, writer

__all__ = ["folded_database", "replica", "writer"]
