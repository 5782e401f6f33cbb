"""Real headers and a day of a radiology feed: all is kept, the rest is listed with reasons."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from dicom_node.hl7.files import read_hl7_file
from tests.nodes import TestNode, radloop, running_node

SHARED = Path(os.environ.get("RADLOOP_SHARED", Path(__file__).parents[2].parent / "shared"))


@pytest.fixture
def node(tmp_path: Path) -> Iterator[TestNode]:
    with running_node(tmp_path / "node") as node:
        yield node


def folder(name: str) -> Path:
    path = SHARED / "data" / name
    if not path.is_dir():
        pytest.skip(f"the shared data folder has no {name}")
    return path


def test_real_siemens_series(node: TestNode) -> None:
    images = folder("adit_fruit_dicom")
    expected = [
        path for path in images.rglob("*") if path.is_file() and path.suffix not in (".md", ".txt")
    ]
    said = radloop("send", str(images), "--config", str(node.config)).stdout
    assert f"{len(expected)} files sent and accepted" in said
    assert "PROVENANCE.md" in said
    status = node.wait_for(
        lambda s: s["instances"] + len(s["quarantined"]) == len(expected), "the index"
    )
    assert status["quarantined"] == []
    assert status["studies"] >= 1


def test_a_day_of_a_radiology_feed(node: TestNode) -> None:
    feed = folder("hl7/scout_synthetic_rad")
    files = sorted(path for path in feed.rglob("*") if path.is_file())
    days = [path for path in files if b"<SB>" in path.read_bytes()]
    day = max(days, key=lambda path: sum(1 for _ in read_hl7_file(path)))
    messages = list(read_hl7_file(day))
    radloop("send-hl7", str(day), "--config", str(node.config), check=False)
    status = node.wait_for(lambda s: s["messages"] == len(set(messages)), "the messages")
    by_disposition = status["messages_by_disposition"]
    assert sum(by_disposition.values()) == len(set(messages))
    assert status["reports"] >= by_disposition.get("accepted", 0) > 0
    assert len(status["quarantined"]) == by_disposition.get("quarantined", 0)
    assert all(row["reason"] for row in status["quarantined"])
    assert sum(status["ignored"].values()) == by_disposition.get("ignored", 0)
    assert len(status["unlinked"]) == status["reports"]
    assert all(row["reason"] for row in status["unlinked"])
