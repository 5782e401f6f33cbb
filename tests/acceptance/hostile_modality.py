"""A hostile modality: every attack on a DICOM storage provider that we know of, aimed at one.

    python -m tests.acceptance.hostile_modality --target radloop
    python -m tests.acceptance.hostile_modality --target all
    python -m tests.acceptance.hostile_modality --target 127.0.0.1:11112 --called RADLOOP --pid 4711

Named targets (radloop, orthanc, dcmtk, pynetdicom) are started on free loopback ports with folders
of their own, so memory, descriptors and files are seen; of a target that runs already only the
network is. The exit status is 1 if radloop breaks a requirement. Attacks an address only if you
may: it is meant to do harm.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from tests.acceptance.hostile import content, floods, identity, lengths, names
from tests.acceptance.hostile.findings import (
    BROKEN,
    Finding,
    print_comparison,
    print_findings,
    summary,
    verdict,
)
from tests.acceptance.hostile.observe import MIB, alive
from tests.acceptance.hostile.stage import DEFAULT, FULL, Scale, Stage
from tests.acceptance.hostile.targets import (
    KINDS,
    PynetdicomQrscp,
    Radloop,
    Remote,
    Target,
)

Attack = Callable[[Stage], Iterator[Finding]]

ATTACKS: Mapping[str, Attack] = {
    "D1": names.traversal,
    "D2": names.collisions,
    "D3": names.duplicates,
    "D4": lengths.lying_lengths,
    "D5": lengths.endless_messages,
    "D6": floods.stalled_sockets,
    "D7": floods.association_flood,
    "D8": content.deflate_bomb,
    "D9": content.nested_sequences,
    "D10": content.lying_contents,
    "D11": names.polyglots,
    "D12": content.corrupt_codestreams,
    "D13": identity.identities,
}
_ITS_OWN = frozenset(("D1", "D2", "D3", "D13"))
"""Rows for pynetdicom's second application; in the others it is the same stack as the first."""


def attack(target: Target, rows: Sequence[str], scale: Scale) -> list[Finding]:
    """Start a target, aim the attacks at it one after the other, and stop it.

    Args:
        target: not yet running.
        rows: which of D1 to D13.
        scale: how much of everything.
    """
    stage = Stage(target, scale)
    findings: list[Finding] = []
    target.start(**_options(target, scale))
    try:
        stage.bystander.store()
        target.wait_until_settled()
        for row in rows:
            if row == "D13":
                _restart(stage, identity.options(stage))
            started = time.monotonic()
            findings += _aim(stage, row)
            findings += _aftermath(stage, row)
            print(f"{target.name} {row}: {time.monotonic() - started:.1f} s", file=sys.stderr)
    finally:
        target.stop()
    return findings


def _options(target: Target, scale: Scale) -> dict[str, Any]:
    if isinstance(target, Radloop):
        target.object_cap = scale.object_cap or 2048 * MIB
        return {"dicom": f"maximum_object_bytes = {target.object_cap}", "tls": True}
    return {}


def _aim(stage: Stage, row: str) -> Iterator[Finding]:
    try:
        yield from ATTACKS[row](stage)
    except (OSError, ValueError, LookupError) as error:
        yield Finding(
            row,
            "the attack itself",
            "the target answers until it is over",
            f"{type(error).__name__}: {error}",
            "",
            BROKEN,
        )


def _restart(stage: Stage, options: dict[str, Any] | None) -> None:
    """Start the target anew with other options; the node begins with an empty folder."""
    if not options:
        return
    stage.target.stop()
    if isinstance(stage.target, Radloop):
        shutil.rmtree(stage.target.root / "node")
        stage.bystander.acknowledged.clear()
    stage.target.start(**options)


def _aftermath(stage: Stage, row: str) -> Iterator[Finding]:
    """After each attack the target serves, and what it acknowledged to the good is there."""
    target = stage.target
    died = target.pid is not None and not alive(target.pid)
    waited = stage.bystander.recovered()
    try:
        kept = stage.kept()
    except TimeoutError:
        kept = {}
    missing = stage.bystander.missing(kept) if kept is not None else []
    total = len(stage.bystander.acknowledged)
    served = waited != float("inf")
    if died or not served:
        target.stop()
        target.start(**_options(target, stage.scale))
    yield Finding(
        row,
        f"after {row}",
        "C-ECHO and C-STORE work; every acknowledged good object is there",
        "it died" if died else f"works after {waited:.1f} s" if served else "serves no more",
        f"good objects missing {len(missing)} of {total}",
        verdict(served and not died and not missing),
    )


def targets(name: str, scratch: Path, called: str, pid: int | None) -> list[Target]:
    """Return the targets that a name on the command line means.

    Raises:
        ValueError: it is neither a name nor HOST:PORT.
    """
    kinds = (
        [kind for kinds in KINDS.values() for kind in kinds] if name == "all" else KINDS.get(name)
    )
    if kinds is not None:
        return [kind(scratch / str(number)) for number, kind in enumerate(kinds)]
    host, _, port = name.rpartition(":")
    if not host or not port.isdecimal():
        raise ValueError(f"{name!r} is neither a target nor HOST:PORT")
    return [Remote(scratch, host, int(port), called, pid)]


def run(
    victims: Sequence[Target], rows: Sequence[str], scale: Scale, console: Console
) -> dict[str, list[Finding]]:
    """Attack targets one after the other and print the findings on each."""
    results = {}
    for target in victims:
        mine = rows
        if isinstance(target, PynetdicomQrscp) and len(victims) > 1:
            mine = [row for row in rows if row in _ITS_OWN]
        results[target.name] = attack(target, mine, scale)
        print_findings(target.name, results[target.name], console)
    return results


def main() -> int:
    """Run from the command line; return the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--target", required=True, help="radloop, orthanc, dcmtk, pynetdicom, all")
    parser.add_argument("--called", default="ANY-SCP", help="AE title of a HOST:PORT target")
    parser.add_argument("--pid", type=int, help="process of a HOST:PORT target, for its memory")
    parser.add_argument("--only", default=",".join(ATTACKS), help="rows, for example D4,D6")
    parser.add_argument("--full", action="store_true", help="the full figures: many minutes")
    arguments = parser.parse_args()
    rows = [row for row in ATTACKS if row in arguments.only.split(",")]
    console = Console(width=None if sys.stdout.isatty() else 160)
    scratch = Path(tempfile.mkdtemp(prefix="hostile-"))
    try:
        victims = targets(arguments.target, scratch, arguments.called, arguments.pid)
        results = run(victims, rows, FULL if arguments.full else DEFAULT, console)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    if len(results) > 1:
        print_comparison(results, console)
    print(json.dumps(summary(results)))
    ours = results.get(Radloop.name, [])
    return int(any(each.verdict == BROKEN for each in ours))


if __name__ == "__main__":
    sys.exit(main())
