"""The hub's event feed: caught up with hour by hour, and followed live; and tables made again from the raw log."""
