"""Dagster's own processes, which `fc-pipeline up` starts: code server, daemon, webserver."""
