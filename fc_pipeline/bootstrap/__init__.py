"""Fills an empty replica from a node's own files, proves it against the block headers, and hands it to the feed."""
