"""fc_pipeline keeps a Postgres replica of the Farcaster network, run by Dagster."""

import os

# Arrow reads this when it is first used. Its other pools keep what micro-batches have freed: measured on catching up,
# twice the memory, and more CPU.
os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
