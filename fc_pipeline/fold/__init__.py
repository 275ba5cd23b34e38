"""Micro-batches: events → Arrow tables → one transaction with versions, tombstones, ledger and quarantine.

Knows nothing of hubs' transport or of Dagster. The fold may see events in any order, cut and repeated in any way: the
tables come out the same, because a row changes only by an event with a higher id than the one that last decided it.
"""
