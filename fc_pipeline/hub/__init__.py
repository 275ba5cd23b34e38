"""Speaks to hubs: wire types, decoding, paging, retries, failover, and the clock between heights and time.

Knows nothing of tables, Postgres or Dagster. The protocol's rules are cited as "hub-api N", the project's reference of
Snapchain's HTTP API as observed.
"""
