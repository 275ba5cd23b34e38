"""Sensors: each reads the replica's state and requests the run that is due."""
