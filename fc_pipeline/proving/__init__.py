"""What is proved of the replica, how strongly, and at which height: the live set against a node and the validators.

All but `replica_proof` know a state of the live set and a node's answers, not where they come from.
"""
