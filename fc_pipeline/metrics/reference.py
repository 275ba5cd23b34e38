"""The reference of the metrics, made from their declarations: `python -m fc_pipeline.metrics.reference`."""

import sys

from fc_pipeline.metrics.families import FAMILIES

__all__ = ["metrics_markdown"]

_HEAD = """# Metrics

`fc-pipeline up` serves the replica's state for Prometheus at `http://127.0.0.1:9464/metrics` (its panel says where; \
`FC_METRICS_PORT`, `FC_METRICS_HOST`), by a process of its own. `fc-pipeline metrics` serves it alone, as beside a \
Dagster of yours. Nothing is pushed by runs: cursors, lag, holes and totals are read from the ledger, runs and ticks \
from Dagster's database, heads from the hubs. So it goes on while runs, daemon, hubs or Redis are dead, and with \
Postgres dead it says that: `fc_source_up` is 0 for each source that cannot be read, and what it said before is not \
shown any more.

Sources are read every 10 seconds (hubs 15, what there is a line of per user 60, a lake in a folder 300, in an object \
store 3,600), and a scrape is answered from what was read last, so that it takes no longer with more rows: no table of \
messages is read at all. Anyone who can reach the port can read it: it has no secrets, but names of hubs, \
tables and runs. Leave it on the loopback address, or let a proxy ask for a password.

```yaml
# prometheus.yml
scrape_configs:
  - job_name: fc_pipeline
    static_configs: [{targets: ["127.0.0.1:9464"]}]
rule_files: [deploy/prometheus/rules.yml]
```

`deploy/grafana/fc_pipeline.json` is a dashboard to import, `deploy/prometheus/rules.yml` has rules: each says what to \
do, and where [checks.md](checks.md) has more. For messages without Prometheus there are alerts.

Counters are sums over the ledger: they grow with what is folded, whichever process folds it, and begin anew only with \
a new database.

| metric | type | labels | |
|---|---|---|---|"""


def metrics_markdown() -> str:
    """The reference as Markdown."""
    rows = [
        f"| `{one.name}` | {one.kind} | {', '.join(f'`{label}`' for label in one.labels)} | {one.meaning} |"
        for one in FAMILIES
    ]
    return "\n".join([_HEAD, *rows]) + "\n"


if __name__ == "__main__":
    sys.stdout.write(metrics_markdown())
