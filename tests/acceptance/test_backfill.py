"""A backfill of 50 studies, 5 of them unknown, is killed with -9 twice and ends complete."""

import csv
import time
from pathlib import Path

import pytest

from plugin.simulation.retrieval import Habits
from tests.acceptance.served_node import ServedNode
from tests.builders import uid
from tests.nodes import radloop
from tests.peers import running_pacs
from tests.retrieval_builders import fill
from tests.retrieval_room import PACS, studies

KNOWN = [f"{number:02}" for number in range(45)]
UNKNOWN = [f"U{number}" for number in range(5)]
FETCHED = "SELECT count(*) FROM retrieval WHERE state = 'fetched'"
OPEN = "SELECT count(*) FROM retrieval WHERE state IN ('waiting', 'arriving')"
INDEXED = (
    "SELECT series.study_instance_uid, instance.sop_instance_uid FROM instance "
    "JOIN series USING (series_instance_uid)"
)


@pytest.mark.timeout(240)
def test_a_backfill_that_is_killed_twice_ends_complete(tmp_path: Path) -> None:
    node = ServedNode(tmp_path / "node")
    port = node.ports.dicom
    habits = Habits(destinations={"RADLOOP": ("127.0.0.1", port)}, says_for_whom=False)
    habits.before_sending = lambda: time.sleep(0.02)  # so that a kill comes in between
    images = studies(KNOWN)
    asked = tmp_path / "asked.csv"
    with asked.open("w", newline="") as file:
        rows = [[f"A-{name}"] for name in sorted(KNOWN + UNKNOWN)]
        csv.writer(file).writerows([["accession_number"], *rows])
    with running_pacs(tmp_path / "pacs", habits=habits) as pacs:
        fill(pacs, tmp_path / "sent", images)
        text = node.config.read_text(encoding="utf-8")
        text = text.replace("studies_per_hour = 120", "studies_per_hour = 0")
        text = text.replace("parallel = 1 ", "parallel = 2 ")
        text += PACS.format(port=pacs.port, way="move")
        node.config.write_text(text, encoding="utf-8")
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
        # Asked again is only what was under way when the node was killed.
        assert len(pacs.retrieval.moved) <= 45 + 2 * 2
        assert "state: finished" in said.stdout
        assert all(f"A-{name}" in said.stdout for name in UNKNOWN)
