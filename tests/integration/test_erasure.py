"""Erasure: after it, no byte below the data folder knows the patient; others are untouched."""

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from sqlmodel import col, select

from dicom_node.keeping_settings import ErasureSettings
from dicom_node.life_models import Erasure
from dicom_node.models import Report
from dicom_node.quarantine import read_notice
from dicom_node.storage import DicomStore
from labeling.models import ReferenceLabel
from plugin.context import Context, open_context
from plugin.errors import Permanent
from plugin.settings import load_settings
from plugin.settings_template import render
from plugin.stages.erase import _erase_rows, attend_erasures, erase_patient, finish_erasures
from tests.builders import received
from tests.canaries import (
    ISSUER,
    SETTINGS,
    Person,
    fill,
    index,
    occurrences,
    receive,
    rows_about,
)
from tests.cohort_builders import NOW
from tests.hl7_builders import merge

GONE = Person("KANARI", "7391")
STAYS = Person("SPERLING", "6482")


@pytest.fixture
def context(tmp_path: Path) -> Iterator[Context]:
    path = tmp_path / "site" / "radloop.toml"
    path.parent.mkdir()
    text = render().replace('default_charset = "ascii"', 'default_charset = "utf-8"')
    text = text.replace('peer = ""     ', 'peer = "research" ').replace(
        'default_issuer_of_accession_number = ""', 'default_issuer_of_accession_number = "RIS"'
    )
    path.write_text(text + SETTINGS, encoding="utf-8")
    with open_context(load_settings(path)) as context:
        fill(context, [GONE, STAYS])
        yield context


def erase(context: Context, *, dry_run: bool = False) -> dict[str, object]:
    return erase_patient(
        context,
        issuer=ISSUER,
        patient_id=GONE.patient_id,
        by="officer",
        reason="a request of the patient",
        dry_run=dry_run,
    )


def archive_of(context: Context, words: list[str]) -> dict[str, str]:
    return {
        str(path): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in context.folder.root.rglob("*.dcm")
        if any(word.encode() in path.read_bytes() for word in words)
    }


def test_no_byte_is_left_and_the_other_patient_is_untouched(context: Context) -> None:
    root = context.folder.root
    before = rows_about(context, STAYS)
    files = archive_of(context, STAYS.words())
    held = occurrences(root, GONE.words())
    places = {path.split("/")[0].removesuffix("-wal") for path, _ in held}
    assert places >= {"radloop.sqlite", "archive", "quarantine", "spool", "cohorts"}
    assert places >= {"structured_reports", "children.log"}
    tables = set(rows_about(context, GONE))
    assert tables >= {"study", "message", "report", "cohort_member", "prediction", "link"}
    assert "reference_sample_subject" in tables

    found = erase(context)

    assert occurrences(root, GONE.words()) == []
    assert rows_about(context, GONE) == {}
    assert archive_of(context, STAYS.words()) == files
    after = rows_about(context, STAYS)
    after["training_run"] = before["training_run"]  # it named both
    assert after == before
    assert found["files_that_still_mention"] == []
    assert found["models"] == [{"model": "spine:1", "cohort": 1}]
    with context.database.read() as session:
        (row,) = session.exec(select(Erasure)).all()
    assert row.finished_at is not None
    assert len(row.patient_keys) == 3  # merged and national identifiers
    assert row.cohorts[0]["before"] != row.cohorts[0]["after"]


def test_a_dry_run_changes_nothing_and_counts_the_same(context: Context) -> None:
    before = {path: path.read_bytes() for path in context.folder.root.rglob("*.dcm")}
    rows = rows_about(context, GONE)
    shown = erase(context, dry_run=True)
    assert rows_about(context, GONE) == rows
    assert {path: path.read_bytes() for path in context.folder.root.rglob("*.dcm")} == before
    assert shown["counts"] == erase(context)["counts"]


def test_the_wrong_issuer_is_told_apart_from_an_erased_patient(context: Context) -> None:
    found = erase_patient(
        context,
        issuer="ELSEWHERE",
        patient_id=GONE.national_id,
        by="officer",
        reason="a request of the patient",
        dry_run=True,
    )
    assert found["found"] is False
    assert found["issuers_of_this_id"] == ["NATIONAL"]


def test_words_that_name_the_patient_are_refused(context: Context) -> None:
    for by, reason in (("officer", f"asked by {GONE.mark}name"), ("", "why"), ("officer", " ")):
        with pytest.raises(Permanent):
            erase_patient(
                context,
                issuer=ISSUER,
                patient_id=GONE.patient_id,
                by=by,
                reason=reason,
                dry_run=False,
            )
    assert rows_about(context, GONE)


def test_an_erasure_that_was_cut_short_is_finished_at_the_next_start(context: Context) -> None:
    root, untouched = context.folder.root, archive_of(context, STAYS.words())
    (root / "workflows.sqlite").write_text(GONE.study)
    # As far as the commit, and no further: what a kill leaves.
    _erase_rows(context, (ISSUER, GONE.patient_id), "officer", "a request", dry_run=False)
    assert occurrences(root, GONE.words())
    assert finish_erasures(context) == 1
    assert occurrences(root, GONE.words()) == []
    assert archive_of(context, STAYS.words()) == untouched
    assert finish_erasures(context) == 0
    # Asked again, there is nothing left to find.
    assert erase(context)["found"] is False


def test_a_merge_message_of_two_pairs_goes_and_the_other_merge_stays(context: Context) -> None:
    other = merge(f"{STAYS.mark}X^^^{ISSUER}", f"{STAYS.patient_id}^^^{ISSUER}")
    lines = other.split(b"\r")[1:3]
    both = GONE.messages()[0].replace(f"{GONE.mark}A40".encode(), b"BOTH") + b"\r".join(lines)
    receive(context, both.replace(GONE.earlier_id.encode(), f"{GONE.mark}TWO".encode()) + b"\r")
    events = rows_about(context, STAYS)["patient_event"]
    erase(context)
    assert occurrences(context.folder.root, GONE.words()) == []
    left = rows_about(context, STAYS)["patient_event"]
    # All but the message, which named both.
    assert [row[:1] + row[2:] for row in left] == [row[:1] + row[2:] for row in events]


@pytest.mark.parametrize("keep_out", [False, True])
def test_what_comes_again_is_kept_out_only_if_the_site_says_so(
    context: Context, keep_out: bool
) -> None:
    erase(context)
    store = DicomStore(context.folder.root)
    store.store(received(GONE.image(1)))
    index(context, store)
    settings = context.settings.model_copy(update={"erasure": ErasureSettings(keep_out=keep_out)})
    site = replace(context, settings=settings)
    assert attend_erasures(site) == int(keep_out)
    assert attend_erasures(site) == 0 if keep_out else rows_about(context, GONE)
    assert bool(occurrences(context.folder.root, GONE.words())) is not keep_out


def test_the_notice_of_anothers_object_forgets_the_patients_study(context: Context) -> None:
    store = DicomStore(context.folder.root)
    # Another patient's object under a series UID of the patient's: set aside, and the notice says
    # with which study it is in conflict.
    claim = STAYS.image(30, study=6, SeriesInstanceUID=GONE.uid(1, 2))
    digest = store.store(received(claim))
    index(context, store)
    assert read_notice(store.notice_path(digest).read_bytes()).other_study_instance_uid
    erase(context)
    notice = read_notice(store.notice_path(digest).read_bytes())
    assert notice.other_study_instance_uid == ""
    assert notice.study_instance_uid == STAYS.uid(6)
    assert store.quarantined_path(digest).exists()


def test_a_file_label_forgets_its_quote_of_the_patients_report(context: Context) -> None:
    quotes = {"f1": "", "f2": "nobody's words"}
    with context.database.write() as session:
        text = session.exec(select(Report.text).where(col(Report.text).contains(GONE.mark))).first()
        assert text is not None
        quotes["f1"] = "  ".join(text.split()[:6]).upper()
        for subject, quote in quotes.items():
            session.add(
                ReferenceLabel(
                    level="file",
                    subject=subject,
                    observation="stenosis",
                    site="whole",
                    reader="reader 1",
                    state="present",
                    quote=quote,
                    imported_at=NOW,
                )
            )

    erase(context)

    with context.database.read() as session:
        kept = session.exec(
            select(ReferenceLabel.subject, ReferenceLabel.quote).where(
                ReferenceLabel.level == "file"
            )
        ).all()
    assert dict(kept) == {"f1": "", "f2": quotes["f2"]}
