"""The hub's event feed: catching up hour by hour, following live, and rebuilding tables from the raw log."""
