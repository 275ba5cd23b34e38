"""History by FID: whom to ask for, what that takes, fetching it, and folding or verifying it."""
