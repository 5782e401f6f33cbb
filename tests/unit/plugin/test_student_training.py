"""Which reports of files a student does not learn from, so that it can be judged by them."""

import json

import pytest

from labeling.schema_file import shipped_schema
from plugin.errors import Permanent
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


@pytest.mark.parametrize(
    ("second", "reason"),
    [(["9", "1"], r"in a\.jsonl and in b\.jsonl"), (["9", "9"], r"twice in b\.jsonl")],
)
def test_one_id_for_two_reports_is_refused(tmp_path, second, reason):
    files = []
    for name, ids in (("a.jsonl", ["1", "2"]), ("b.jsonl", second)):
        rows = [{"id": each, "text": f"{name} {each}.", "labels": {}} for each in ids]
        files.append(tmp_path / name)
        files[-1].write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    job = {"labels": list(map(str, files)), "reports": "", "references": ""}
    with pytest.raises(Permanent, match=reason):
        _from_files(job, shipped_schema("spine"))
    alone = _from_files(job | {"labels": [str(files[0])]}, shipped_schema("spine"))
    assert len(alone.examples) == 2


def test_rows_without_an_id_are_no_two_reports_of_one_name(tmp_path):
    file = tmp_path / "a.jsonl"
    rows = [{"text": f"Report {number}.", "labels": {}} for number in range(2)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    job = {"labels": [str(file)], "reports": "", "references": ""}
    assert len(_from_files(job, shipped_schema("spine")).examples) == 2
