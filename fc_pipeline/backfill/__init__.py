"""History by FID: which FIDs to request, what that costs, fetching them, and folding or verifying the result."""
