"""Repairs: gaps, the raw log, the quarantine, targets' histories."""
