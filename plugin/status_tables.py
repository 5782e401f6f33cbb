"""The state of the node as text for a terminal."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table

_COUNTED = (
    "instances",
    "spooled",
    "series",
    "studies",
    "messages",
    "reports",
    "labels",
    "models",
    "predictions",
)
_BY_KIND = (
    "documents",
    "messages_by_disposition",
    "links",
    "labels_by_labeler",
    "transmissions",
    "commitment_requests",
    "commitment_inquiries",
    "fetched_or_imported_studies",
)


def render_status(found: dict[str, Any], console: Console | None = None) -> None:
    """Print what :func:`plugin.status.node_status` found as tables for a person."""
    console = console or Console()
    state = "running" if found["running"] else "not running"
    console.print(f"radloop is {state}; data in {found['data_folder']}; research use only")
    if found["receiving_failure"]:
        console.print(
            f"[bold red]RECEIVING HAS STOPPED[/]: {found['receiving_failure']}; "
            "repair the disk, then start the node again"
        )
    if found["ports"]:
        listed = ", ".join(f"{name} {port}" for name, port in sorted(found["ports"].items()))
        console.print(f"listening on: {listed}")
    if found.get("empty"):
        console.print("nothing has been received yet")
        return
    table = Table(show_header=False)
    for key in _COUNTED:
        table.add_row(key, f"{found[key]:,}")
    for key in _BY_KIND:
        parts = ", ".join(f"{name} {number:,}" for name, number in sorted(found[key].items()))
        table.add_row(key.replace("_", " "), parts or "none")
    console.print(table)
    for title, rows in _lists(found):
        if rows:
            console.print(f"{title}:")
            for row in rows:
                console.print(f"  {row}", markup=False)


def _lists(found: dict[str, Any]) -> list[tuple[str, list[str]]]:
    return [
        ("backfills (radloop backfill status)", [_backfill(row) for row in found["backfills"]]),
        ("imports of studies (radloop import list)", [_import(row) for row in found["imports"]]),
        (
            "quarantined",
            [
                f"{row['kind']} from {row['sender']!r}: {row['reason']}"
                for row in found["quarantined"]
            ],
        ),
        (
            "frozen until a person decides (radloop quarantine list, documents list)",
            [
                f"study {row['study_instance_uid']}: {'; '.join(row['reasons'])}"
                for row in found["frozen"]
            ],
        ),
        (
            "storage commitment failed (radloop commitment list)",
            [
                f"{row['kind']} {row['id']}, {row['peer']}, {row['state']}: {row['last_error']}"
                for row in found["commitments_failed"]
            ],
        ),
        ("not linked", [f"report {row['report']}: {row['reason']}" for row in found["unlinked"]]),
        ("ignored messages", [f"{n} x {reason}" for reason, n in found["ignored"].items()]),
    ]


def _backfill(row: dict[str, Any]) -> str:
    told = {"name", "from", "priors", "state", "studies", "trouble"}
    parts = ", ".join(f"{key} {number:,}" for key, number in row.items() if key not in told)
    trouble = f" ({row['trouble']})" if row["trouble"] else ""
    count = f"{row['studies']:,} studies"
    return f"{row['name']} from {row['from']}, {row['state']}: {count}, {parts}{trouble}"


def _import(row: dict[str, Any]) -> str:
    told = ("import", "state", "source", "sender", "looked_at", "started", "ended", "by", "reason")
    parts = ", ".join(f"{k} {n:,}" for k, n in row.items() if k not in told and n)
    return f"{row['import']} of {row['source']} by {row['by']}, {row['state']}: {parts}"
