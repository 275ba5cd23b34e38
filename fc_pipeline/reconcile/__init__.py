"""Reconciles the tables with their sources: the hub's snapshots, and the raw log."""
