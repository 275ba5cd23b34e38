"""What was lost or set aside is put right: gaps, the raw log, the quarantine, targets' histories."""
