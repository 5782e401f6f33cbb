"""An archive routes a study; the node fetches its prior, predicts, and answers the one alone.

Orthanc is the archive: it holds both studies, sends one, gives the other by C-MOVE, takes the
structured report, and sends that on to the node again as archives do.
"""

from pathlib import Path

import pytest

from plugin.context import open_context
from plugin.settings import load_settings
from tests.acceptance.served_node import ServedNode, with_values
from tests.builders import uid
from tests.peers import running_orthanc
from tests.phantom_studies import MODEL, phantom_study, put_to_work
from tests.retrieval_builders import fill
from tests.retrieval_room import PACS

RULES = f"""
[[prediction]]
model = "{MODEL}"
priors = 2
"""
NOW, PRIOR = uid("study", "now"), uid("study", "prior")
PREDICTED = "SELECT DISTINCT study_instance_uid FROM prediction"
DELIVERED = "SELECT study_instance_uid FROM transmission WHERE state = 'delivered'"
SILENCED = "SELECT study_instance_uid FROM solicited_study"
DOCUMENTS = "SELECT kind, count(*) FROM dicom_document GROUP BY kind"


@pytest.mark.peer
@pytest.mark.timeout(300)
def test_a_prior_is_fetched_and_gets_no_report(tmp_path: Path) -> None:
    node = ServedNode(tmp_path / "node")
    us = ["RADLOOP", "127.0.0.1", node.ports.dicom]
    options = {"DicomModalities": {"node": us}, "DicomAlwaysAllowMove": True}
    identity = {"patient": "P1", "IssuerOfPatientID": "HOSP"}
    _, now = phantom_study(1, study="now", StudyDate="20260301", **identity)
    _, prior = phantom_study(2, study="prior", StudyDate="20240301", **identity)
    with running_orthanc(tmp_path / "pacs", **options) as pacs:
        text = node.config.read_text(encoding="utf-8") + PACS.format(port=pacs.port, way="move")
        text = with_values(text, {"peer": '"pacs"'})
        text = text.replace('# priors_from = "research"', 'priors_from = "pacs"    ')
        node.config.write_text(text + RULES, encoding="utf-8")
        with open_context(load_settings(node.config)) as context:
            put_to_work(context)
        fill(pacs, tmp_path / "sent", [*now, *prior])
        before = pacs.holdings()
        try:
            node.start()
            (study,) = pacs.post(
                "/tools/find", {"Level": "Study", "Query": {"StudyInstanceUID": NOW}}
            )
            pacs.post("/modalities/node/store", {"Resources": [study], "Synchronous": True})
            node.wait_until(lambda: node.rows(DELIVERED) == [(NOW,)], "the report", 120)
            node.wait_until(lambda: node.rows(SILENCED) == [(PRIOR,)], "the prior", 120)
            node.wait_until_indexed()
            (report,) = pacs.received("SR")
            held = pacs.holdings()
            # What the archive took it sends to the node again: that starts nothing.
            pacs.post("/modalities/node/store", {"Resources": [study], "Synchronous": True})
            node.wait_until(lambda: node.rows(DOCUMENTS) == [("ours", 1)], "the report's return")
            node.wait_until_indexed()
        finally:
            node.stop()
        assert report.study_instance_uid == NOW
        assert len(pacs.received("SR")) == 1
        assert (held.patients, held.studies) == (before.patients, before.studies) == (1, 2)
        assert (held.series, held.instances) == (before.series + 1, before.instances + 1)
        assert node.rows(PREDICTED) == [(NOW,)]
        assert node.rows(SILENCED) == [(PRIOR,)]
        assert node.rows("SELECT count(*) FROM instance") == [(len(now) + len(prior) + 1,)]
