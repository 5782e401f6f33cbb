"""A backfill of 50 studies is killed with -9 twice and ends complete; one is cut by an erasure."""

import csv
import json
import time
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from plugin.simulation.retrieval import Habits
from tests.acceptance.served_node import ServedNode
from tests.builders import mr_image, uid
from tests.nodes import radloop
from tests.peers import running_pacs
from tests.retrieval_builders import fill, real_archive
from tests.retrieval_room import PACS, studies

KNOWN = [f"{number:02}" for number in range(45)]
UNKNOWN = [f"U{number}" for number in range(5)]
FETCHED = "SELECT count(*) FROM retrieval WHERE state = 'fetched'"
OPEN = "SELECT count(*) FROM retrieval WHERE state IN ('waiting', 'arriving')"
INDEXED = (
    "SELECT series.study_instance_uid, instance.sop_instance_uid FROM instance "
    "JOIN series USING (series_instance_uid)"
)
ARCHIVES = [
    pytest.param("simulated", "move"),
    *(
        pytest.param(kind, way, marks=pytest.mark.peer)
        for kind in ("orthanc", "dcmqrscp")
        for way in ("move", "get")
    ),
]


def running(kind: str, folder: Path, port: int) -> AbstractContextManager[Any]:
    """Run an archive that knows where the node listens."""
    us = ("127.0.0.1", port)
    if kind != "simulated":
        return real_archive(kind, folder, us)
    habits = Habits(destinations={"RADLOOP": us}, says_for_whom=False)
    habits.before_sending = lambda: time.sleep(0.02)  # so that a kill comes in between
    return running_pacs(folder, habits=habits)


def prepare(node: ServedNode, port: int, way: str) -> None:
    """Let the node fetch from the archive without a limit on the rate."""
    text = node.config.read_text(encoding="utf-8")
    for old, new in (
        ("studies_per_hour = 120", "studies_per_hour = 0"),
        ("parallel = 1 ", "parallel = 2 "),
    ):
        assert old in text
        text = text.replace(old, new)
    node.config.write_text(text + PACS.format(port=port, way=way), encoding="utf-8")


def list_of_accessions(path: Path) -> Path:
    """Write what is asked for."""
    with path.open("w", newline="") as file:
        rows = [[f"A-{name}"] for name in sorted(KNOWN + UNKNOWN)]
        csv.writer(file).writerows([["accession_number"], *rows])
    return path


@pytest.mark.timeout(240)
@pytest.mark.parametrize(("kind", "way"), ARCHIVES)
def test_a_backfill_that_is_killed_twice_ends_complete(tmp_path: Path, kind: str, way: str) -> None:
    node = ServedNode(tmp_path / "node")
    images = studies(KNOWN)
    asked = list_of_accessions(tmp_path / "asked.csv")
    with running(kind, tmp_path / "pacs", node.ports.dicom) as pacs:
        fill(pacs, tmp_path / "sent", images)
        prepare(node, pacs.port, way)
        try:
            node.start()
            command = ["backfill", "--accessions", str(asked), "--name", "year"]
            radloop(*command, "--config", str(node.config))
            for share in (8, 25):
                wanted = share
                node.wait_until(lambda n=wanted: node.rows(FETCHED)[0][0] >= n, f"{share} studies")
                node.kill_group()
                assert node.rows(OPEN)[0][0] > 0
                node.start()
            node.wait_until(lambda: node.rows(OPEN)[0][0] == 0, "the end of the backfill")
            node.wait_until_indexed()
            said = radloop("backfill", "status", "--config", str(node.config), "year")
        finally:
            node.stop()
        states = dict(node.rows("SELECT state, count(*) FROM retrieval GROUP BY state"))
        assert states.pop("unknown to the PACS") == 5
        assert sum(states.values()) == 45
        assert set(states) <= {"fetched", "here already"}
        expected = {(str(i.StudyInstanceUID), str(i.SOPInstanceUID)) for i in images}
        assert sorted(node.rows(INDEXED)) == sorted(expected)
        solicited = {row[0] for row in node.rows("SELECT study_instance_uid FROM solicited_study")}
        assert solicited == {uid("study", name) for name in KNOWN}
        if kind == "simulated":
            # Asked again is only what was under way when the node was killed.
            assert len(pacs.retrieval.moved) <= 45 + 2 * 2
        assert "state: finished" in said.stdout
        assert all(f"A-{name}" in said.stdout for name in UNKNOWN)


@pytest.mark.timeout(240)
def test_a_patient_is_erased_from_a_node_that_fetches_him(tmp_path: Path) -> None:
    node = ServedNode(tmp_path / "node")
    port = node.ports.dicom
    habits = Habits(destinations={"RADLOOP": ("127.0.0.1", port)}, says_for_whom=False)
    habits.before_sending = lambda: time.sleep(0.5)
    images = [
        mr_image(study="00", patient="P1", instance=number, IssuerOfPatientID="HOSP")
        for number in range(60)
    ]
    asked = tmp_path / "asked.csv"
    asked.write_text("accession_number\nA-00\nA-01\n")
    with running_pacs(tmp_path / "pacs", habits=habits) as pacs:
        fill(pacs, tmp_path / "sent", [*images, *studies(["01"])])
        text = node.config.read_text(encoding="utf-8")
        node.config.write_text(text + PACS.format(port=pacs.port, way="move"), encoding="utf-8")
        try:
            node.start()
            command = ["backfill", "--accessions", str(asked), "--name", "year"]
            radloop(*command, "--config", str(node.config))
            node.wait_until(lambda: len(node.rows(INDEXED)) > 2, "the first images")
            erased = radloop(
                *("erase", "--patient-id", "P1", "--issuer", "HOSP", "--yes", "--json"),
                *("--by", "officer", "--reason", "asked", "--config", str(node.config)),
            )
            assert json.loads(erased.stdout)["found"]
            habits.before_sending = lambda: None
            node.wait_until(lambda: node.rows(OPEN)[0][0] == 0, "the other study")
            node.wait_until_indexed()
        finally:
            node.stop()
        assert {row[0] for row in node.rows(INDEXED)} == {uid("study", "01")}
        assert len(pacs.retrieval.sent) < len(images)  # it was told to end
        assert pacs.retrieval.moved == [uid("study", "00"), uid("study", "01")]
        assert len(list(node.data.rglob("*.dcm"))) == 2
        about = "SELECT count(*) FROM {} WHERE study_instance_uid = '" + uid("study", "00") + "'"
        for table in ("study", "series", "retrieval", "solicited_study"):
            assert node.rows(about.format(table)) == [(0,)]
