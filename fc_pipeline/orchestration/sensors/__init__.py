"""Sensors: each looks at the replica and asks for the run that is due."""
