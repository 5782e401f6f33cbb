"""Documents that are stored: what each becomes, and what rejection notes take out of use."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator
from copy import deepcopy as copy_of
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import Session, col, select
from typer.testing import CliRunner

from dicom_node.completion import force_completion
from dicom_node.documents.models import DicomDocument, RejectedInstance
from dicom_node.models import Link, Message, Quarantined, Report
from dicom_node.reports.models import ReportInput
from dicom_node.storage import DicomStore
from dicom_node.studies import (
    frozen_studies,
    is_frozen,
    studies_with_images,
    study_digest,
)
from labeling.models import Label
from plugin.cli import app
from plugin.context import Context
from plugin.errors import Permanent
from plugin.operations import run_operation
from plugin.pipeline import held, retracted, waiting_predictions
from plugin.stages import documents
from plugin.stages.cohort import SHORTCOMINGS, freeze_cohort
from plugin.stages.document_decisions import decide_document
from plugin.stages.documents import Documents, read_documents
from plugin.stages.erase import erase_patient
from plugin.stages.ground import ground_of
from plugin.stages.impact import note_impacts
from plugin.stages.label import label_reports
from tests import document_builders as build
from tests.builders import uid
from tests.cohort_builders import add_training_run
from tests.document_room import NOW, S1, Store, document_room, image, kinds, ours, rows
from tests.sr_builders import ALGORITHM
from training.images.archive import choose_in_study
from training.images.rule_file import load_rule
from training.impact_models import ImpactNote
from training.membership import standing_of
from training.models import Cohort, CohortMember, Model, Prediction
from training.own_reports import CITES, OwnNames, read_reports
from training.patients import read_patients
from training.registry import promote, register, silence
from training.selection import SeriesRule, image_digests, images
from training.series import analysed_digests
from training.standing import Fault

TEXT = "Disc herniation at L4/L5. No spinal canal stenosis."


@pytest.fixture
def context(tmp_path: Path) -> Iterator[Context]:
    with document_room(tmp_path) as context:
        yield context


@pytest.fixture
def store(context: Context) -> Store:
    return Store(context)


def go_live(context: Context, silent_since: dt.datetime | None = None) -> None:
    """Have a model at work, for which every complete study with MR images waits.

    A silent one waits for those of which images came since.
    """
    with context.database.write() as session:
        training = add_training_run(session)
        register(
            session,
            weights_digest="1" * 64,
            name="spine",
            training_run=training,
            operating_points={},
            uid_source=lambda: ALGORITHM.device_uid,
            decided_by="test",
            clock=lambda: NOW,
        )
        said = {"decided_by": "test", "reason": "a test"}
        if silent_since is not None:
            silence(session, "spine", **said, clock=lambda: silent_since)
        else:
            promote(session, "spine", **said, clock=lambda: NOW)


def complete(context: Context, uid: str = S1) -> None:
    with context.database.write() as session:
        force_completion(session, uid, by="test", reason="a test", now=NOW)


def waiting(context: Context) -> list[str]:
    with context.database.read() as session:
        return [each.study_instance_uid for each in waiting_predictions(context, session)]


def digest_of(context: Context, uid: str = S1) -> str:
    with context.database.read() as session:
        return study_digest(session, uid)


def test_a_report_of_a_person_is_filed_linked_and_labelled(context: Context, store: Store) -> None:
    assert store(image(), build.text_report(TEXT)).kinds == {"report": 1}
    (message,) = rows(context, Message)
    (report,) = rows(context, Report)
    (link,) = rows(context, Link)
    (row,) = rows(context, DicomDocument)
    assert (message.sender, message.source, message.peer) == ("SR|PACS", "dicom", row.digest)
    assert (row.kind, row.state, row.observers) == ("report", "filed", ["Reader^Rita"])
    assert report.text == f"FINDINGS:\n{TEXT}"
    assert (report.result_status, report.history) == ("F", False)
    assert (link.study_instance_uid, link.state) == (S1, "confirmed")
    assert message.received_at == row.received_at
    label_reports(context, "rules", lambda _: None)
    labels = {(each.observation, each.site): each.state for each in rows(context, Label)}
    assert labels["herniation", "L4-L5"] == "present"
    before = [rows(context, table) for table in (Message, Report, Link, DicomDocument)]
    assert read_documents(context).kinds == {}
    assert [rows(context, table) for table in (Message, Report, Link, DicomDocument)] == before


def test_a_sender_that_nobody_accepted_does_not_link(context: Context, store: Store) -> None:
    context.profiles._known.listed.pop("SR|PACS")  # type: ignore[attr-defined]
    store(image(), build.text_report(TEXT))
    (link,) = rows(context, Link)
    assert (link.state, link.rule) == ("proposed", "feed not accepted")


def test_corrections_make_versions_along_a_chain(context: Context, store: Store) -> None:
    names = ["first", "second", "third"]
    sent = []
    for before, name in zip(["", *names], names, strict=False):
        values = {"name": name, "ContentTime": f"12000{len(sent)}"}
        document = build.text_report(f"Text {name}.", **values)
        document.VerifyingObserverSequence[0].VerificationDateTime = f"2026010312000{len(sent)}"
        if before:
            document.PredecessorDocumentsSequence = build.references([build.named(sent[-1])])
        sent.append(document)
    store(image(), *sent)
    reports = sorted(rows(context, Report), key=lambda each: each.version)
    assert len({each.report_identity for each in reports}) == 1
    assert [each.text.split("\n")[1] for each in reports] == [f"Text {name}." for name in names]
    assert [each.is_current for each in reports] == [False, False, True]
    confirmed = [each for each in rows(context, Link) if each.state == "confirmed"]
    assert [each.report_id for each in confirmed] == [reports[2].id]


def test_a_draft_is_provisional_and_an_imported_report_is_history(
    context: Context, store: Store
) -> None:
    store(image(), build.text_report("Draft.", VerificationFlag="UNVERIFIED"))
    store(build.text_report("Old.", name="old"), way="imported")
    reports = {each.text.split("\n")[1]: each for each in rows(context, Report)}
    assert (reports["Draft."].result_status, reports["Draft."].history) == ("P", False)
    assert (reports["Old."].result_status, reports["Old."].history) == ("F", True)
    assert {each.source for each in rows(context, Message)} == {"dicom", "import"}


def test_our_report_that_comes_back_triggers_nothing(context: Context, store: Store) -> None:
    store(image())
    go_live(context)
    complete(context)
    before, waited = digest_of(context), waiting(context)
    assert waited == [S1]
    document = ours(context, image())
    copy = copy_of(document)
    copy.SOPInstanceUID = copy.file_meta.MediaStorageSOPInstanceUID = uid("another")
    assert store(document, copy).kinds == {"ours": 2}
    assert (digest_of(context), waiting(context)) == (before, waited)
    assert rows(context, Message) == rows(context, Report) == []


def test_a_readers_correction_of_ours_is_kept_beside_it(context: Context, store: Store) -> None:
    document = ours(context, image())
    group = document.ContentSequence[-1].ContentSequence[0]
    tracking = next(
        each.UID
        for each in group.ContentSequence
        if each.ConceptNameCodeSequence[0].CodeValue == "112040"
    )
    edited = build.measurements("edited", build.person("Reader^Ron"), tracking=str(tracking))
    reference = build.references([build.named(document)])
    replaced = build.text_report("Not so.", name="replaced", PredecessorDocumentsSequence=reference)
    store(image(), document, edited, replaced)
    found = {each.sop_instance_uid: each for each in rows(context, DicomDocument)}
    assert [found[str(each.SOPInstanceUID)].kind for each in (document, edited, replaced)] == [
        "ours",
        "correction",
        "correction",
    ]
    row = found[str(replaced.SOPInstanceUID)]
    assert (row.refers_to, row.verified, row.observers) == (
        [str(document.SOPInstanceUID)],
        True,
        ["Reader^Rita"],
    )
    assert found[str(edited.SOPInstanceUID)].observers == ["Reader^Ron"]
    assert rows(context, Message) == []


def test_a_report_that_cites_ours_counts_as_quoting_it(context: Context, store: Store) -> None:
    document = ours(context, image())
    evidence = build.references([build.named(document)])
    citing = build.text_report(TEXT, name="citing", PertinentOtherEvidenceSequence=evidence)
    store(image(), citing, build.text_report(TEXT, name="free"))
    names = OwnNames(frozenset(), frozenset(), frozenset({"RADLOOP"}))
    with context.database.read() as session:
        inputs = {
            each.message_id: each.report_identity for each in session.exec(select(ReportInput))
        }
        reports = session.exec(select(Report)).all()
        assert len(inputs) == len(reports) == 2
        members = [
            CohortMember(cohort_id=0, study_instance_uid=S1, report_id=each.id) for each in reports
        ]
        read = read_reports(session, members, names, after_delivery=False)
    faults = {each.report_identity.rpartition("|")[2]: read[each.id or 0].fault for each in reports}
    assert faults == {
        str(citing.SOPInstanceUID): CITES,
        uid("document", "S1", "free"): "",
    }


def test_rejected_images_are_out_of_use_and_stay_stored(context: Context, store: Store) -> None:
    store(image(1), image(2))
    go_live(context)
    complete(context)
    whole = digest_of(context)
    rule = SeriesRule("MR")
    result = store(build.rejection_note([image(2)]))
    assert (result.kinds, result.rejected_in) == ({"rejection": 1}, {S1})
    without = digest_of(context)
    assert without != whole
    assert waiting(context) == []  # as it is now, it is not complete
    complete(context)
    assert waiting(context) == [S1]
    with context.database.read() as session:
        kept = analysed_digests(session, S1, rule)
        assert image_digests(session, rule) == {S1: kept}
        assert len(kept) == 1
        assert held(session, S1) == ""
    # The same instance, sent again, stays rejected; a new one is new.
    store(image(2, InstanceNumber=99))
    assert digest_of(context) == without
    store(image(2))
    assert digest_of(context) == without
    store(image(3))
    assert digest_of(context) not in (whole, without)
    (note,) = [each for each in rows(context, DicomDocument) if each.kind == "rejection"]
    shown = decide_document(context, note.digest[:8], "release", by="anna", reason="fit to use")
    assert shown["decisions"] == ["release by anna: fit to use"]
    with context.database.read() as session:
        assert len(analysed_digests(session, S1, rule)) == 3
    with pytest.raises(Permanent, match="released already"):
        decide_document(context, note.digest, "release", by="anna", reason="again")
    decide_document(context, note.digest, "confirm", by="anna", reason="no, it is blurred")
    with context.database.read() as session:
        assert len(analysed_digests(session, S1, rule)) == 2


def test_a_note_that_comes_before_its_images_rejects_them(context: Context, store: Store) -> None:
    store(build.rejection_note([image(1)]), image(1))
    with context.database.read() as session:
        assert studies_with_images(session) == []
    store(image(2))
    with context.database.read() as session:
        assert studies_with_images(session) == [S1]
        assert len(analysed_digests(session, S1, SeriesRule("MR"))) == 1


@pytest.mark.parametrize("title", ["113037", "113038"])
def test_images_of_the_wrong_patient_hold_the_study_until_a_person_decides(
    context: Context, store: Store, title: str
) -> None:
    store(image(1), image(2), build.text_report(TEXT))
    go_live(context)
    complete(context)
    assert [each.state for each in rows(context, Link)] == ["confirmed"]
    store(build.rejection_note([image(1)], title))
    (link,) = rows(context, Link)
    assert (link.state, link.rule) == ("suspended", "study frozen")
    with context.database.read() as session:
        assert is_frozen(session, S1)
        assert "rejection note" in frozen_studies(session)[S1][0]
        assert "frozen" in held(session, S1)
    complete(context)
    assert waiting(context) == []
    (note,) = [each for each in rows(context, DicomDocument) if each.kind == "rejection"]
    decide_document(context, note.digest, "confirm", by="anna", reason="image 1 is of another")
    assert [each.state for each in rows(context, Link)] == ["confirmed"]
    assert waiting(context) == []  # a report is there, and nobody needs a prediction
    with context.database.read() as session:
        assert not is_frozen(session, S1)
        assert len(analysed_digests(session, S1, SeriesRule("MR"))) == 1


def test_a_dose_report_has_no_silent_model_look_at_an_old_study(
    context: Context, store: Store
) -> None:
    store(image())
    go_live(context, NOW + dt.timedelta(microseconds=1))
    complete(context)
    assert waiting(context) == []  # it came before
    store(build.document("dose", sop_class=build.DOSE))
    assert waiting(context) == []
    store(image(2))
    complete(context)
    assert waiting(context) == [S1]


def _frozen_with(context: Context, session: Session) -> Cohort:
    """Return a cohort of the one study, a model that learned from it and what it said."""
    ground = ground_of(context.settings)
    cohort = session.exec(select(Cohort)).one()
    cohort.query = {"modality": "MR", "body_parts": [], "series_description": ""}
    session.add(cohort)
    report = session.exec(select(Report)).one()
    session.add(
        CohortMember(
            cohort_id=cohort.id or 0,
            study_instance_uid=S1,
            patient_key=read_patients(session, ground.name_of).key("HOSP", "P1", ground.salt),
            report_id=report.id,
            images_digest=images(session, SeriesRule("MR"))[S1],
            fold="train",
        )
    )
    _predicted(session, "")
    session.flush()
    return cohort


def _predicted(session: Session, sop_instance_uid: str) -> None:
    """Add a prediction about the study as it is now, and which report carries it."""
    model = session.exec(select(Model)).one()
    session.add(
        Prediction(
            model_id=model.id or 0,
            study_instance_uid=S1,
            observation="o",
            site="s",
            study_digest=study_digest(session, S1),
            sop_instance_uid=sop_instance_uid,
            predicted_at=NOW,
        )
    )
    session.flush()


@pytest.mark.parametrize(
    ("title", "member", "prediction"),
    [
        ("113001", {Fault.IMAGES}, {Fault.IMAGES}),
        ("113037", {Fault.REJECTED}, {Fault.REJECTED}),
        ("113038", {Fault.REJECTED}, {Fault.REJECTED}),
        ("113039", set(), set()),
    ],
)
def test_what_rests_on_rejected_images_is_noted(
    context: Context,
    store: Store,
    title: str,
    member: set[Fault],
    prediction: set[Fault],
) -> None:
    store(image(1), image(2), build.text_report(TEXT))
    go_live(context)
    with context.database.write() as session:
        cohort = _frozen_with(context, session)
        (standing,) = standing_of(session, ground_of(context.settings), cohort)
        assert standing.fault is None
    note_impacts(context)
    before = {each.id for each in rows(context, ImpactNote)}
    store(build.rejection_note([image(1)], title))
    note_impacts(context)
    notes = [each for each in rows(context, ImpactNote) if each.id not in before and each.stale]
    said: dict[str, set[str]] = {}
    for each in notes:
        said.setdefault(each.artefact, set()).add(each.cause)
    assert said.get("cohort member", set()) == {str(each) for each in member}
    assert said.get("prediction", set()) == {str(each) for each in prediction}


@pytest.mark.parametrize(
    ("title", "reason"),
    [
        ("113001", "study not complete"),
        ("113038", "a rejection note: incorrect modality worklist entry"),
        ("113039", "a rejection note: data retention policy expired"),
    ],
)
def test_a_new_cohort_takes_no_study_whose_images_were_rejected(
    context: Context, store: Store, title: str, reason: str
) -> None:
    store(image(1, BodyPartExamined="LSPINE"), build.text_report(TEXT))
    label_reports(context, "rules", lambda _: None)
    complete(context)

    def frozen() -> dict[str, Any]:
        return freeze_cohort(context, "spine", "rules", SHORTCOMINGS, dry_run=True)

    assert frozen()["members"] == 1
    store(build.rejection_note([image(1)], title))
    found = frozen()
    assert found["members"] == 0
    assert [each for each in found["exclusions"] if reason in each]


def test_a_rule_for_series_takes_no_rejected_image(context: Context, store: Store) -> None:
    store(image(1), image(1, series="2"), build.rejection_note([image(1)]))
    rule = load_rule("lumbar_sagittal_t2")
    with context.database.read() as session:
        found = choose_in_study(session, DicomStore(context.folder.root), context.sandbox, S1, rule)
    told = {each.series_instance_uid: each.why for each in found.verdicts}
    assert told[uid("series", "S1", "1")] == "its images were rejected"
    assert "rejected" not in told[uid("series", "S1", "2")]


def test_a_study_that_the_archive_keeps_no_longer_is_not_predicted_on(
    context: Context, store: Store
) -> None:
    store(image(1))
    go_live(context)
    complete(context)
    assert waiting(context) == [S1]
    before = digest_of(context)
    store(build.rejection_note([image(1)], "113039"))
    assert waiting(context) == []
    assert digest_of(context) == before


def test_a_rejected_report_is_linked_to_nothing_until_it_is_released(
    context: Context, store: Store
) -> None:
    report = build.text_report(TEXT)
    store(image(1), report, build.rejection_note([report]))
    (link,) = rows(context, Link)
    assert (link.state, link.rule) == ("refused", "report rejected")
    (note,) = [each for each in rows(context, DicomDocument) if each.kind == "rejection"]
    decide_document(context, note.digest, "release", by="anna", reason="it is right")
    assert [each.state for each in rows(context, Link)] == ["confirmed"]
    # In the other order it is the same.
    later = build.text_report("Later.", name="later")
    store(build.rejection_note([later], name="early"), later)
    states = {each.rule for each in rows(context, Link) if each.state == "refused"}
    assert states == {"report rejected"}


def test_a_report_of_ours_on_rejected_images_stays(context: Context, store: Store) -> None:
    store(image(1), image(2))
    go_live(context)
    with context.database.write() as session:
        _predicted(session, "2.25.9")
    with context.database.read() as session:
        assert retracted(session, "2.25.9") == ""
    store(build.rejection_note([image(2)]))
    with context.database.write() as session:
        assert "rejected after it was built" in retracted(session, "2.25.9")
        _predicted(session, "2.25.10")  # without them
        assert retracted(session, "2.25.10") == ""


def test_a_note_about_an_instance_that_comes_in_another_study_later_does_not_reach_it(
    context: Context, store: Store
) -> None:
    later = image(1, study="S2")
    liar = build.rejection_note([later], name="liar")
    liar.CurrentRequestedProcedureEvidenceSequence[0].StudyInstanceUID = S1
    store(image(1), liar, later)
    with context.database.read() as session:
        assert studies_with_images(session) == sorted([S1, uid("study", "S2")])


def test_hostile_documents_do_no_harm(
    context: Context, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    deep, deepest = build.findings("bottom"), build.findings("bottom")
    for number in range(200):
        deepest = build.content_item("CONTAINER", build.code("121070"), deepest)
        deep = deepest if number == 14 else deep
    long = build.text_report("x" * 100_000, name="long")
    many = build.text_report(name="many")
    many.ContentSequence = [*many.ContentSequence, *[build.findings("y" * 2000)] * 9000]
    nobody = build.text_report("Text.", name="nobody", study="S3", patient="")
    stranger = build.text_report("Another's.", name="stranger", patient="P9")
    abyss = build.document("abyss", deepest)
    store(image(), build.document("deep", deep), abyss, long, many, nobody, stranger)
    found = kinds(context)
    assert "nested deeper" in rows(context, Quarantined)[0].reason
    assert found.get(uid("document", "S1", "abyss"), "unreadable") in ("other", "unreadable")
    assert found[uid("document", "S1", "deep")] in ("other", "unreadable")
    assert found[uid("document", "S1", "long")] == "unreadable"
    assert found[uid("document", "S1", "many")] in ("report", "unreadable")
    row = {each.sop_instance_uid: each for each in rows(context, DicomDocument)}
    assert row[uid("document", "S3", "nobody")].state == "refused"
    # That of another patient lies in quarantine, was never read and froze the study.
    assert uid("document", "S1", "stranger") not in found
    with context.database.read() as session:
        assert is_frozen(session, S1)
    assert "Another's" not in caplog.text
    assert "Rita" not in caplog.text
    assert read_documents(context).kinds == {}


def test_the_rules_change_and_everything_is_read_once_more(
    context: Context, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    store(image(), build.text_report(TEXT), build.rejection_note([image()], "113038"))
    (note,) = [each for each in rows(context, DicomDocument) if each.kind == "rejection"]
    decide_document(context, note.digest, "confirm", by="anna", reason="so it is")
    before = [rows(context, table) for table in (Message, Report, RejectedInstance)]
    monkeypatch.setattr(documents, "RULE_VERSION", documents.RULE_VERSION + 1)
    assert read_documents(context).kinds == {"report": 1, "rejection": 1}
    assert [rows(context, table) for table in (Message, Report, RejectedInstance)] == before
    (note,) = [each for each in rows(context, DicomDocument) if each.kind == "rejection"]
    assert note.state == "confirmed"


def test_a_run_that_was_cut_off_goes_on(
    context: Context, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    store(image(), build.text_report(TEXT), read=False)
    sweep = Documents(context)

    def fail(*_: object, **__: object) -> None:
        raise OSError("the disk")

    with monkeypatch.context() as patch:
        patch.setattr(documents, "put_row", fail)
        with pytest.raises(OSError, match="disk"):
            sweep.sweep()
    # The row and what follows from it are one transaction.
    assert rows(context, DicomDocument) == rows(context, Message) == []
    assert sweep.sweep().kinds == {"report": 1}
    assert sweep.sweep().kinds == {}
    assert len(rows(context, Report)) == 1


def test_a_rebuilt_index_says_the_same_and_keeps_what_a_person_decided(
    context: Context, store: Store
) -> None:
    store(image(1), image(2), build.text_report(TEXT), build.rejection_note([image(1)]))
    before, digest = rows(context, DicomDocument), digest_of(context)
    run_operation(context, "reindex", {"dry_run": False}, lambda _: None)
    assert read_documents(context).kinds == {}
    assert (rows(context, DicomDocument), digest_of(context)) == (before, digest)
    # Even where the rows were lost.
    with context.database.write() as session:
        for table in (DicomDocument, RejectedInstance):
            for row in session.exec(select(table)):
                session.delete(row)
    read_documents(context)
    assert digest_of(context) == digest
    again = [each.model_dump(exclude={"read_at"}) for each in rows(context, DicomDocument)]
    assert again == [each.model_dump(exclude={"read_at"}) for each in before]
    assert len(rows(context, Report)) == 1


def test_an_erased_patient_leaves_no_document(context: Context, store: Store) -> None:
    store(image(1), build.text_report(TEXT), build.rejection_note([image(1)], "113038"))
    store(image(1, study="S2", patient="P2"), build.text_report("Other.", study="S2", patient="P2"))
    (note,) = [each for each in rows(context, DicomDocument) if each.kind == "rejection"]
    decide_document(context, note.digest, "confirm", by="anna", reason="so it is")
    found = erase_patient(
        context, issuer="HOSP", patient_id="P1", by="anna", reason="asked", dry_run=False
    )
    assert found["counts"]["dicom_document"] == 2
    assert found["files_that_still_mention"] == []
    assert [each.study_instance_uid for each in rows(context, DicomDocument)] == [
        uid("study", "S2")
    ]
    assert rows(context, RejectedInstance) == []
    assert [each.text for each in rows(context, Report)] == ["FINDINGS:\nOther."]


def test_documents_are_listed_and_decided_about(
    context: Context, store: Store, tmp_path: Path
) -> None:
    store(image(1), build.text_report(TEXT), build.rejection_note([image(1)], "113038"))
    with context.database.read() as session:
        digest = session.exec(
            select(DicomDocument.digest).where(col(DicomDocument.kind) == "rejection")
        ).one()
    config = ["--config", str(tmp_path / "radloop.toml")]
    runner = CliRunner()
    listed = json.loads(runner.invoke(app, ["documents", "list", "--json", *config]).output)
    assert listed["all"] == {"rejection": 1, "report": 1}
    only = runner.invoke(app, ["documents", "list", "--kind", "rejection", "--json", *config])
    (shown,) = json.loads(only.output)["documents"]
    assert (shown["digest"], shown["rejects"], shown["state"]) == (digest, 1, "honoured")
    wrong = runner.invoke(app, ["documents", "list", "--kind", "letter", *config])
    assert wrong.exit_code != 0
    status = json.loads(runner.invoke(app, ["status", "--json", *config]).output)
    assert status["documents"] == {"rejection": 1, "report": 1}
    assert [each["study_instance_uid"] for each in status["frozen"]] == [S1]
