"""Tables made equal to what they are made from: the hub's snapshots, and the raw log."""
