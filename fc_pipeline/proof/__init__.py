"""What the network itself signs: the trie of live records, block headers, messages' hashes and signatures.

Pure: bytes in, hashes and verdicts out. Knows no Postgres, no lake and no Dagster.
"""
