"""Loads whole tables: COPY into tables without indexes, then indexes, derived tables and counts, each for all rows."""
