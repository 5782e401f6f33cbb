"""Queries as files and options: read strictly, refused by key, combined with options."""

import datetime as dt
from pathlib import Path
from typing import Any

import pytest

from plugin.cohort_request import combined, query_of, read_request, request_of
from plugin.errors import Permanent
from plugin.source_digest import code_identity
from tests.cohort_builders import SCHEMA
from training.evaluation.splits import Split

TOML = """
labeler = "tree"
schema = "spine"
modality = "MR"
body_parts = ["LSPINE", "TSPINE"]
sequences = ["*T2*", "*STIR*"]
study_dates = { from = 2024-01-01, to = "2024-12-31" }
minimum_link = "reviewed"
uncertain_policy = "soft"
excluded_patients = "lists/patients.csv"
duplicates = "exclude"
[consent]
list = "consent.csv"
rule = "opt_out"
"""
YAML = """
modality: MR
study_dates: {from: 2024-01-01}
sequences: ["*T2*"]
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "lists").mkdir()
    patients = "patient_id,issuer_of_patient_id\nP1,SITE\n"
    (tmp_path / "lists" / "patients.csv").write_text(patients)
    (tmp_path / "consent.csv").write_text("\ufeff" + patients)
    return tmp_path


def written(folder: Path, text: str, name: str = "query.toml") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_a_file_becomes_a_query(folder: Path) -> None:
    request = request_of(read_request(written(folder, TOML)))
    query = query_of(request, "c", SCHEMA, 7, modality="CT", series_description="T2")
    assert (query.modality, query.body_parts) == ("MR", ("LSPINE", "TSPINE"))
    assert query.series_description == "T2"  # of the settings: the file does not say
    assert (query.first_date, query.last_date) == ("20240101", "20241231")
    assert (query.minimum_link, query.uncertain_policy) == ("reviewed", "soft")
    assert [each.kind for each in query.excluded] == ["patients"]
    assert query.consent is not None
    assert query.consent_rule == "opt_out"
    assert (query.duplicates, query.suspects) == ("exclude", "stop")


def test_options_win_over_the_file_and_dates_join(folder: Path) -> None:
    values = read_request(written(folder, YAML, "query.yaml"))
    given = {"modality": "CT", "sequences": None, "study_dates": {"to": "2024-06-30"}}
    query = query_of(request_of(combined(values, given)), "c", SCHEMA, 7)
    assert (query.modality, query.sequences) == ("CT", ("*T2*",))
    assert (query.first_date, query.last_date) == ("20240101", "20240630")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('modallity = "MR"', "unknown key modallity"),
        ('modality = ""', "modality"),
        ("study_dates = {from = 2024-02-01, to = 2024-01-01}", "from lies after to"),
        ("study_dates = {from = 'yesterday'}", "study_dates.from"),
        ('minimum_link = "proposed"', "only confirmed links feed a cohort"),
        ('uncertain_policy = "maybe"', "uncertain_policy"),
        ('sequences = [" "]', "a pattern is empty"),
        ("[consent]\nlist = 'consent.csv'", "consent.rule"),
        ("modality = ", "cannot be read"),
    ],
)
def test_whatever_is_wrong_is_refused_by_key(folder: Path, text: str, said: str) -> None:
    with pytest.raises(Permanent, match=said):
        read_request(written(folder, text))


@pytest.mark.parametrize(
    "text", ["modality: MR\nmodality: CT\n", "study_dates: {from: 1, from: 2}"]
)
def test_a_key_that_stands_twice_is_refused(folder: Path, text: str) -> None:
    with pytest.raises(Permanent, match="stands twice"):
        read_request(written(folder, text, "query.yaml"))


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"schema": "chest"}, "the node reads by 'spine'"),
        ({"excluded_studies": "lists/patients.csv"}, "holds patients"),
        ({"excluded_studies": "nowhere.csv"}, "cannot be read: no such file"),
    ],
)
def test_what_does_not_fit_the_node_is_refused(
    folder: Path, values: dict[str, Any], said: str
) -> None:
    if "excluded_studies" in values:
        values = {"excluded_studies": str(folder / values["excluded_studies"])}
    with pytest.raises(Permanent, match=said):
        query_of(request_of(values), "c", SCHEMA, 7)


def test_the_code_has_one_digest() -> None:
    found = code_identity()
    assert found.keys() == {"version", "source_sha256"}
    assert len(found["source_sha256"]) == 64


def test_dates_may_be_written_as_dicom_writes_them_and_never_be_empty() -> None:
    found = request_of({"study_dates": {"from": "20260301", "to": "2026-03-31"}})
    assert (found.study_dates.first, found.study_dates.last) == (
        dt.date(2026, 3, 1),
        dt.date(2026, 3, 31),
    )
    with pytest.raises(Permanent, match="a date is empty"):
        request_of({"study_dates": {"to": ""}})


def test_a_file_that_is_no_query_is_refused_without_its_content(folder: Path) -> None:
    for name in ("list.csv", "list.yaml", "list.toml"):
        with pytest.raises(Permanent) as refused:
            read_request(written(folder, "patient_id,issuer\n400019,SIMNORTH: x: y\n", name))
        assert "400019" not in str(refused.value)


def test_a_split_is_a_date_or_a_site() -> None:
    asked = request_of({"test_from": "20240101"})
    assert query_of(asked, "x", SCHEMA, 1).split == Split("temporal", "20240101")
    asked = request_of({"test_site": " St.  Elsewhere "})
    assert query_of(asked, "x", SCHEMA, 1).split == Split("site", "St. Elsewhere")
    with pytest.raises(Permanent, match="exclude each other"):
        request_of({"test_site": "A", "test_from": "2024-01-01"})
