"""`python -m fc_pipeline_tests.benchmarks`: run the benchmarks one after another, print a table, write JSON."""

import argparse
import gzip
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from fc_pipeline.config.settings import Settings
from fc_pipeline.sample_hub.generator import generate
from fc_pipeline.sample_hub.log import load_log
from fc_pipeline_tests.benchmarks.backfill import backfill_big_user, backfill_users
from fc_pipeline_tests.benchmarks.bootstrap import bootstrap_network
from fc_pipeline_tests.benchmarks.by_fid import read_by_fid
from fc_pipeline_tests.benchmarks.decode import decode_pages
from fc_pipeline_tests.benchmarks.idle_sync import sync_with_nothing_to_do
from fc_pipeline_tests.benchmarks.large_tables import fold_into_large_tables
from fc_pipeline_tests.benchmarks.ledger import read_a_year
from fc_pipeline_tests.benchmarks.live import follow_live
from fc_pipeline_tests.benchmarks.metrics import scrape_metrics
from fc_pipeline_tests.benchmarks.network import NetworkSize
from fc_pipeline_tests.benchmarks.planning import plan_network
from fc_pipeline_tests.benchmarks.poison import catch_up_with_poison
from fc_pipeline_tests.benchmarks.proof import network_of, prove_network
from fc_pipeline_tests.benchmarks.proof_messages import prove_signed_messages
from fc_pipeline_tests.benchmarks.read import read_as_apps_do
from fc_pipeline_tests.benchmarks.rows_match_log import compare_rows_with_log
from fc_pipeline_tests.benchmarks.stage import BenchmarkServers, hub_process, open_stage
from fc_pipeline_tests.benchmarks.stock_server import fold_on_stock_server
from fc_pipeline_tests.benchmarks.stored_bytes import stored_bytes
from fc_pipeline_tests.benchmarks.target_filter import complete_target, fold_profiles, fold_targets_only
from fc_pipeline_tests.benchmarks.target_set import target_set
from fc_pipeline_tests.benchmarks.workers import share_a_round

SEED = 20_261_123


def main() -> None:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=1_000_000, help="size of the generated log")
    parser.add_argument("--fids", type=int, default=20_000, help="users in it")
    parser.add_argument(
        "--only",
        choices=(
            "catch_up",
            "poison",
            "large_tables",
            "live",
            "idle_sync",
            "by_fid",
            "backfill",
            "workers",
            "targets",
            "stock_server",
            "rows_match_log",
            "read",
            "stored_bytes",
            "metrics",
            "ledger",
            "proof",
            "bootstrap",
        ),
        help="leave the others out",
    )
    parser.add_argument("--live-seconds", type=float, default=120.0, help="how long to follow a live hub")
    parser.add_argument("--live-rate", type=float, default=200.0, help="its events per second")
    parser.add_argument("--large-rows", type=int, default=5_000_000, help="rows of each table that counts as large")
    parser.add_argument("--users", type=int, default=100_000, help="users of the network that is read as apps do")
    parser.add_argument("--casts", type=int, default=2_000_000, help="its casts")
    parser.add_argument("--reactions", type=int, default=5_000_000, help="its reactions")
    parser.add_argument("--follows", type=int, default=2_000_000, help="its follows")
    parser.add_argument("--read-rounds", type=int, default=300, help="how often each call is made while it is written")
    parser.add_argument("--known-fids", type=int, default=1_000_000, help="users whose snapshots metrics count")
    parser.add_argument("--proof-rows", type=int, default=5_000_000, help="rows of the network that is proved")
    parser.add_argument("--damages", type=int, default=300, help="single records of it that are damaged, one at a time")
    parser.add_argument("--signed-events", type=int, default=30_000, help="events of the log whose messages are proved")
    parser.add_argument("--known-hours", type=int, default=8_760, help="hours of bookkeeping that metrics sum up")
    parser.add_argument(
        "--ledger-fids", type=int, default=3_350_000, help="users in the bookkeeping of a whole network"
    )
    parser.add_argument("--node-messages", type=int, default=3_000_000, help="messages in a node's files to load")
    parser.add_argument("--round-fids", type=int, default=1_600, help="users of a round that workers share")
    parser.add_argument("--hub-delay", type=float, default=0.2, help="seconds that its hub takes for each answer")
    parser.add_argument("--json", type=Path, default=Path("data/bench.json"), help="where the figures go")
    options = parser.parse_args()
    figures: dict[str, dict[str, Any]] = {}
    if options.only in (None, "catch_up"):
        with tempfile.TemporaryDirectory(prefix="fc_bench_") as folder:
            figures |= _throughput(Path(folder), events=options.events, fids=options.fids)
    if options.only in (None, "poison"):
        with tempfile.TemporaryDirectory(prefix="fc_bench_") as folder:
            log_path = _generated(Path(folder), events=options.events // 5, fids=max(1, options.fids // 5))
            figures["poison"] = catch_up_with_poison(Path(folder), log_path)
    if options.only in (None, "large_tables"):
        with tempfile.TemporaryDirectory(prefix="fc_bench_") as folder:
            # Fewer users than elsewhere: less of the log is their registration.
            log = load_log(_generated(Path(folder), events=options.events, fids=options.fids // 4))
            figures["large_tables"] = fold_into_large_tables(Path(folder), log, rows=options.large_rows)
    if options.only in (None, "live"):
        with tempfile.TemporaryDirectory(prefix="fc_bench_") as folder:
            figures["live"] = follow_live(Path(folder), options.live_seconds, options.live_rate)
    if options.only in (None, "idle_sync"):
        with tempfile.TemporaryDirectory(prefix="fc_bench_") as folder:
            figures["idle_sync"] = sync_with_nothing_to_do(Path(folder))
    if options.only in (None, "by_fid", "backfill"):
        figures |= _snapshots(options.only, events=options.events, fids=options.fids)
    if options.only in (None, "targets"):
        figures |= _targets(events=options.events, fids=options.fids)
    if options.only in (None, "stock_server"):
        with tempfile.TemporaryDirectory(prefix="fc_bench_") as folder:
            # About half of it is on the one shard that is folded.
            log = load_log(_generated(Path(folder), events=300_000, fids=options.fids))
            figures["stock_server"] = fold_on_stock_server(Path(folder), log)
    if options.only in (None, "rows_match_log"):
        with tempfile.TemporaryDirectory(prefix="fc_bench_") as folder:
            log_path = _generated(Path(folder), events=options.events // 10, fids=options.fids // 5)
            figures["rows_match_log"] = compare_rows_with_log(Path(folder), log_path, rows=options.large_rows // 5)
    figures |= _shared(options)
    figures |= _read(options)
    _print(figures)
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


def _throughput(folder: Path, *, events: int, fids: int) -> dict[str, dict[str, Any]]:
    """Decoding, the ceiling and catching up, over one generated log."""
    log_path = _generated(folder, events=events, fids=fids)
    figures: dict[str, dict[str, Any]] = {"decode": decode_pages(load_log(log_path))}
    with open_stage(folder) as stage, hub_process("--log", str(log_path)) as hub_url:
        figures["ceiling"] = _child("ceiling", stage, hub_url)
        figures["catch_up"] = _child("catch_up", stage, hub_url)
    of_ceiling = figures["catch_up"]["events_per_second"] / figures["ceiling"]["events_per_second"]
    figures["catch_up"]["of_ceiling"] = of_ceiling
    return figures


def _snapshots(only: str | None, *, events: int, fids: int) -> dict[str, dict[str, Any]]:
    """Asking for users' records, and folding them: many users with little each, some with much, one with very much."""
    figures: dict[str, dict[str, Any]] = {}
    if only in (None, "by_fid"):
        with tempfile.TemporaryDirectory(prefix="fc_bench_") as folder:
            log_path = _generated(Path(folder), events=events // 5, fids=fids)
            figures |= read_by_fid(Path(folder), log_path)
    if only in (None, "backfill"):
        with tempfile.TemporaryDirectory(prefix="fc_bench_") as folder:
            log_path = _generated(Path(folder), events=events // 2, fids=max(1, fids // 40))
            figures["backfill"] = backfill_users(Path(folder), log_path)
            figures["backfill_big_user"] = backfill_big_user(Path(folder))
    return figures


def _shared(options: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """A round that workers share; little of each user, so that it is the hub that takes the time."""
    if options.only not in (None, "workers"):
        return {}
    with tempfile.TemporaryDirectory(prefix="fc_bench_") as folder:
        log_path = _generated(Path(folder), events=options.round_fids * 20, fids=options.round_fids)
        figures = share_a_round(Path(folder), log_path, options.hub_delay)
    with tempfile.TemporaryDirectory(prefix="fc_bench_") as folder:
        return figures | {"planning": plan_network(Path(folder), options.ledger_fids)}


def _targets(*, events: int, fids: int) -> dict[str, dict[str, Any]]:
    """The target set itself, and what it costs and saves a fold."""
    figures: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory(prefix="fc_bench_") as folder:
        figures |= target_set(Path(folder))
    with tempfile.TemporaryDirectory(prefix="fc_bench_") as folder:
        figures["profile_heavy_hour"] = fold_profiles(Path(folder))
    with tempfile.TemporaryDirectory(prefix="fc_bench_") as folder:
        # About half of it is on the one shard that is looked at.
        log = load_log(_generated(Path(folder), events=events * 2 // 5, fids=fids // 4))
        figures["target_filter"] = fold_targets_only(Path(folder), log, events=min(100_000, len(log.shards[1].raws)))
    with tempfile.TemporaryDirectory(prefix="fc_bench_") as folder:
        figures["target_completion"] = complete_target(Path(folder), log)
    return figures


def _read(options: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """What indexes take, what metrics and what apps read, and what proofs cost."""
    figures: dict[str, dict[str, Any]] = {}
    if options.only in (None, "proof"):
        with tempfile.TemporaryDirectory(prefix="fc_bench_") as folder:
            size = network_of(options.users, options.proof_rows)
            figures |= prove_network(Path(folder), size, damages=options.damages)
        with tempfile.TemporaryDirectory(prefix="fc_bench_") as folder:
            figures["proof_messages"] = prove_signed_messages(Path(folder), events=options.signed_events)
    if options.only in (None, "bootstrap"):
        with tempfile.TemporaryDirectory(prefix="fc_bench_") as folder:
            figures |= bootstrap_network(Path(folder), messages=options.node_messages)
    if options.only in (None, "metrics"):
        rows, fids, hours = options.large_rows, options.known_fids, options.known_hours
        with tempfile.TemporaryDirectory(prefix="fc_bench_") as folder:
            figures |= scrape_metrics(Path(folder), rows=rows, fids=fids, hours=hours)
    if options.only in (None, "ledger"):
        with tempfile.TemporaryDirectory(prefix="fc_bench_") as folder:
            figures |= read_a_year(Path(folder), hours=options.known_hours, fids=options.ledger_fids)
    if options.only in (None, "stored_bytes"):
        with tempfile.TemporaryDirectory(prefix="fc_bench_") as folder:
            log_path = _generated(Path(folder), events=options.events, fids=options.fids)
            figures |= stored_bytes(Path(folder), log_path)
    if options.only not in (None, "read"):
        return figures
    size = NetworkSize(options.users, options.casts, options.reactions, options.follows)
    with tempfile.TemporaryDirectory(prefix="fc_bench_") as folder:
        return figures | read_as_apps_do(Path(folder), size, rounds=options.read_rounds)


def _generated(folder: Path, *, events: int, fids: int) -> Path:
    log_path = folder / "events.ndjson.gz"
    with gzip.open(log_path, "wb", compresslevel=1) as file:
        file.writelines(line + b"\n" for line in generate(SEED, fids=fids, events=events, events_per_second=50.0))
    return log_path


def _child(name: str, stage: BenchmarkServers, hub_url: str) -> dict[str, float]:
    """Run one measurement in a process of its own, on a new database."""
    settings: Settings = stage.settings(hub_url)
    command = [sys.executable, "-m", "fc_pipeline_tests.benchmarks.catch_up", name, _as_json(settings)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{name} failed:\n{done.stderr}")
    return json.loads(done.stdout)


def _as_json(settings: Settings) -> str:
    return json.dumps(settings.model_dump(mode="json"))


def _print(figures: dict[str, dict[str, Any]]) -> None:
    for name, values in figures.items():
        print(name)
        if all(isinstance(value, dict) for value in values.values()):
            _print_table(values)
            continue
        for key, value in values.items():
            print(f"  {key:<24}{_shown(value):>16}")


def _print_table(rows: dict[str, dict[str, Any]]) -> None:
    """A line for each of them; all have the same columns."""
    print(f"  {'':<32}" + "".join(f"{column:>12}" for column in next(iter(rows.values()), {})))
    for name, values in rows.items():
        print(f"  {name:<32}" + "".join(f"{_shown(value):>12}" for value in values.values()))


def _shown(value: Any) -> str:
    if isinstance(value, str):
        return f" {value}"
    return f"{value:,.2f}" if isinstance(value, float) else f"{value:,}"


if __name__ == "__main__":
    main()
