"""Benchmarks, `make bench`: seeded, on a generated log; they print a table and write JSON, and assert nothing."""
