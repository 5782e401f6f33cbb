"""Requests that were acknowledged survive the death of the node: every one is answered, and truly.

A hundred transactions are taken while nobody listens for reports, the whole node is killed, started
again, and then the reports have to come: one for each, each saying what is stored and what is not.
"""

from collections import Counter
from pathlib import Path

import pytest

from dicom_node.archive_settings import PacsPeer
from dicom_node.storage_scu import send_instances
from plugin.simulation.ports import free_ports
from tests.acceptance.served_node import ServedNode
from tests.builders import mr_image, write_file
from tests.commitment_room import MR, Asker, References, missing

TRANSACTIONS = 100


def transactions(sent: References) -> dict[str, tuple[References, References]]:
    """Return what each transaction names: what was sent, and in a third of them what was not."""
    found = {}
    for number in range(TRANSACTIONS):
        held = [sent[(number + step) % len(sent)] for step in range(1 + number % 4)]
        absent = [missing(number * 10 + step) for step in range(number % 3)]
        found[f"2.25.7{number:03}"] = held, absent
    return found


@pytest.mark.timeout(300)
def test_a_hundred_requests_are_answered_after_kill_9(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    node, modality = ServedNode(tmp_path / "node"), Asker()
    with node.config.open("a", encoding="utf-8") as config:
        config.write(
            f'\n[[dicom.peers]]\nae_title = "MODALITY"\ncommitment_host = "127.0.0.1"\n'
            f"commitment_port = {port}\n"
        )
    try:
        node.start()
        images = [mr_image(patient="P", study="S", instance=n) for n in range(12)]
        paths = [write_file(tmp_path / f"{n}.dcm", each) for n, each in enumerate(images)]
        peer = PacsPeer(ae_title="RADLOOP", port=node.ports.dicom)
        assert all(each.delivered for each in send_instances(peer, "MODALITY", paths))
        asked = transactions([(MR, str(each.SOPInstanceUID)) for each in images])
        for transaction, (held, absent) in asked.items():
            assert modality.ask(node.dicom, transaction, [*held, *absent]) == 0
        node.kill_group()
        modality.listen(port)
        node.start()
        reports = modality.wait(TRANSACTIONS, 150)
        states = "SELECT state, count(*) FROM commitment_request GROUP BY state"
        node.wait_until(lambda: node.rows(states) == [("reported", TRANSACTIONS)], "the rows")
        reports = modality.reports
    finally:
        node.stop()
        modality.close()
    assert Counter(each.transaction for each in reports) == Counter(dict.fromkeys(asked, 1))
    for report in reports:
        held, absent = asked[report.transaction]
        assert report.event_type == (2 if absent else 1)
        assert sorted(report.committed) == sorted(held)
        assert report.failed == dict.fromkeys(absent, 0x0112)
    assert any(each.failed for each in reports)
    assert not list((node.data / "commitments").iterdir())
