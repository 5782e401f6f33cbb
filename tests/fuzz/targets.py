"""What reads a peer's bytes, one function a target: any bytes go in, broken promises come out.

A target returns where the code behaved: it gave a result that keeps its promises, or it raised an
error that it declares. Whatever else leaves a target is a finding; that no input may take long or
much memory is watched by who runs it.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

TARGETS: Mapping[str, str] = {
    "upper_layer": "protocol_targets",
    "command": "protocol_targets",
    "negotiation": "protocol_targets",
    "commitment": "protocol_targets",
    "association": "association_targets",
    "conversation": "association_targets",
    "leading_uids": "object_targets",
    "header": "object_targets",
    "content": "object_targets",
    "stored_file": "object_targets",
    "notice": "object_targets",
    "worker_answer": "object_targets",
    "mllp_framing": "report_targets",
    "hl7": "report_targets",
    "hl7_intake": "report_targets",
    "hl7_message": "message_targets",
    "hl7_batch": "message_targets",
    "embedded_document": "message_targets",
    "structured_report": "report_targets",
    "stow_body": "web_targets",
    "study_finder": "web_targets",
    "store_answer": "web_targets",
}
"""The module of each target, which is loaded with what it needs when the target is."""


@dataclass(frozen=True)
class Limits:
    """What one input may cost.

    Attributes:
        bytes: of one input.
        seconds: after which it counts as a hang.
        memory: bytes of address space of the process that runs it.
    """

    bytes: int = 8192
    seconds: int = 5
    memory: int = 3 * 1024**3


def load(target: str) -> Callable[[bytes], None]:
    """Return the function of a target."""
    module = importlib.import_module(f"tests.fuzz.{TARGETS[target]}")
    found: Callable[[bytes], None] = getattr(module, target)
    return found


def seeds(target: str) -> Sequence[bytes]:
    """Return sound inputs of a target, made by the builders of the other tests."""
    module = importlib.import_module(f"tests.fuzz.{TARGETS[target]}")
    made: Sequence[bytes] = module.seeds()[target]
    return made


def write_seeds(target: str, folder: Path) -> None:
    """Write the sound inputs of a target as files."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, data in enumerate(seeds(target)):
        (folder / f"seed-{number:02}").write_bytes(data)
