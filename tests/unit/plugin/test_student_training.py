"""Which reports of files a student does not learn from, so that it can be judged by them."""

import json

from labeling.schema_file import shipped_schema
from plugin.student_training import _from_files


def test_reports_left_to_judge_keep_the_others_of_their_patients_out(tmp_path):
    labels, references = tmp_path / "labels.jsonl", tmp_path / "read.csv"
    rows = [("1", "p1"), ("2", "p1"), ("3", "p2")]
    labels.write_text(
        "".join(
            json.dumps({"id": name, "patient": patient, "text": "Normal.", "labels": {}}) + "\n"
            for name, patient in rows
        ),
        "utf-8",
    )
    references.write_text(
        "level,subject,observation,site,reader,state\nfile,1,stenosis,whole,a,absent\n", "utf-8"
    )
    job = {
        "labels": [str(labels)],
        "reports": "",
        "references": str(references),
        "hold_out_references": True,
    }
    found = _from_files(job, shipped_schema("spine"))
    assert [each.id for each in found.examples] == ["3"]
    assert found.held_out == 1
