"""A hub in Snapchain's dialect for demo, tests and load: an event log behind the hub's HTTP API."""
