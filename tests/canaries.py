"""Two patients who run through the whole loop, one of them made of words found nowhere else."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pydicom

from dicom_node.indexing import index_spool
from dicom_node.messages import file_records
from dicom_node.messages import receive as file_messages
from dicom_node.mllp.journal import Record
from dicom_node.models import Study
from dicom_node.storage import DicomStore
from dicom_node.studies import instances_of, study_digest
from plugin.context import Context
from plugin.linking import study_linker
from plugin.stages.cohort import SHORTCOMINGS, freeze_cohort, newest_cohort
from plugin.stages.draw import Draft, draw_sample
from plugin.stages.label import label_reports
from plugin.stages.predict import Predictor
from plugin.stages.reference import import_references
from tests.builders import encode, mr_image, received
from tests.hl7_builders import merge, oru
from training.models import Model, TrainingRun
from training.predictions import SitePrediction, store_predictions
from training.registry import Stage, promote, register

ISSUER = "HOSP"
SETTINGS = """
[[prediction]]
model = "spine"
modality = "MR"
body_part = "LSPINE"
series_description = "T2"
only_without_final_report = false

[[pacs]]
name = "research"
ae_title = "NOBODY"
port = 9
"""


@dataclass(frozen=True)
class Person:
    """A patient: ``mark`` is in every text, ``number`` in every UID and date."""

    mark: str
    number: str

    @property
    def patient_id(self) -> str:
        return f"{self.mark}ID"

    @property
    def earlier_id(self) -> str:
        return f"{self.mark}OLD"

    @property
    def national_id(self) -> str:
        return f"{self.mark}NAT"

    @property
    def accession(self) -> str:
        return f"{self.mark}ACC"

    @property
    def birth_date(self) -> str:
        return f"19{self.number[:2]}0{int(self.number[2]) % 9 + 1}1{self.number[3]}"

    def uid(self, *parts: int) -> str:
        return ".".join(("1.2.826.0.1.3680043.10.1337", self.number, *map(str, parts)))

    @property
    def study(self) -> str:
        return self.uid(1)

    def words(self) -> list[str]:
        """Everything that must be found nowhere after an erasure; all UIDs begin alike."""
        return [self.mark, self.uid(), self.birth_date]

    def image(self, number: int, study: int = 1, **attributes: object) -> pydicom.Dataset:
        values: dict[str, object] = {
            "SOPInstanceUID": self.uid(study, 2, number),
            "StudyInstanceUID": self.uid(study),
            "SeriesInstanceUID": self.uid(study, 2),
            "IssuerOfPatientID": ISSUER,
            "PatientName": f"{self.mark}NAME^{self.mark}FIRST",
            "PatientBirthDate": self.birth_date,
            "AccessionNumber": self.accession,
            "StudyDescription": f"{self.mark}DESC",
            "StudyDate": "20260228",
            "SpacingBetweenSlices": 4.0,
        }
        return mr_image(
            patient=self.patient_id,
            study=f"{self.number}-{study}",
            instance=number,
            **{**values, **attributes},  # type: ignore[arg-type]
        )

    def messages(self) -> list[bytes]:
        ids = f"{self.patient_id}^^^{ISSUER}^MR~{self.national_id}^^^NATIONAL^NI"
        shared = {
            "patient": ids,
            "name": f"{self.mark}NAME^{self.mark}FIRST",
            "birth_date": self.birth_date,
            "filler": f"{self.mark}FILL",
            "placer": f"{self.mark}PLAC",
            "accession": self.accession,
            "study_uids": [self.study],
        }
        text = (f"FINDINGS: {self.mark}TEXT. L4-L5: severe spinal canal stenosis.",)
        return [
            merge(f"{self.earlier_id}^^^{ISSUER}", ids.split("~")[0], control_id=f"{self.mark}A40"),
            oru(control_id=f"{self.mark}1", lines=text, status="P", **shared),  # type: ignore[arg-type]
            oru(  # a later version
                control_id=f"{self.mark}2",
                lines=text,
                changed="20260302115900",
                **shared,  # type: ignore[arg-type]
            ),
            # Ignored, quarantined: no row names the patient, only the bytes do.
            oru(control_id=f"{self.mark}3", patient=ids).replace(b"ORU^R01^ORU_R01", b"ADT^A08"),
            oru(control_id=f"{self.mark}4", filler="", placer="", accession="", patient=ids),
        ]


def fill(context: Context, people: list[Person]) -> None:
    """Run people through every stage, with each stage's own functions."""
    store = DicomStore(context.folder.root)
    store.recover()
    for person in people:
        take(context, store, person)
    _freeze_and_predict(context, people)
    for person in people:
        scout = person.image(7, study=4, SeriesDescription="localizer")
        store.store(received(scout))  # nobody indexes it yet


def take(context: Context, store: DicomStore, person: Person) -> None:
    """Receive a person's images and messages, some of them faulty."""
    objects = [person.image(number) for number in (1, 2, 3)]
    objects.append(person.image(2, InstitutionName=f"{person.mark}INST"))
    for data_set in objects:
        store.store(received(data_set))
        index(context, store)
    odd = received(person.image(9, study=3))
    store.quarantine(odd, "refused by a receiver")
    unreadable = received(person.image(8, study=5))
    store.store(
        type(odd)(
            **{**_fields(unreadable), "data": encode(person.image(8, study=5))[:-400] + b"\0" * 7}
        )
    )
    index(context, store)
    for message in person.messages():
        receive(context, message)
    torn = person.messages()[1][:-40]
    file_records(
        context.database,
        [Record("refused", torn, context.clock(), reason="a stream that broke off")],
        profiles=context.profiles,
        linking=context.linking(),
        clock=context.clock,
    )


def _fields(each: object) -> dict[str, object]:
    return {name: getattr(each, name) for name in each.__dataclass_fields__}  # type: ignore[attr-defined]


def index(context: Context, store: DicomStore) -> None:
    """Index what is spooled, with linking."""
    index_spool(
        context.database, store, context.settings.dicom, context.clock, study_linker(context)
    )


def receive(context: Context, content: bytes) -> None:
    """Receive one message, with linking."""
    file_messages(
        context.database,
        content,
        profiles=context.profiles,
        linking=context.linking(),
        clock=context.clock,
    )


def _freeze_and_predict(context: Context, people: list[Person]) -> None:
    label_reports(context, "rules", lambda _: None)
    labels = context.folder.root.parent / "labels.csv"
    rows = [
        f"{level},{subject},stenosis,L4-L5,R1,present"
        for person in people
        for level, subject in (("report", person.accession), ("image", person.study))
    ]
    labels.write_text("\n".join(["level,subject,observation,site,reader,state", *rows, ""]))
    for level in ("report", "image"):
        draft = Draft(level=level, n=len(people), include_read=True, one_per_patient=False)
        draw_sample(context, draft)
    import_references(context, str(labels))
    for person in people:
        complete(context, person.study)
    freeze_cohort(context, "spine", "rules", SHORTCOMINGS)
    with context.database.write() as session:
        cohort = newest_cohort(session, "spine")
        run = TrainingRun(
            cohort_id=cohort.id or 0,
            classifier="disc_network",
            seed=1,
            code_version="test",
            metrics={
                "not_used": [
                    {"study": person.study, "fold": "train", "reason": "too few slices"}
                    for person in people
                ]
            },
            started_at=context.clock(),
            finished_at=context.clock(),
        )
        session.add(run)
        session.flush()
        model = register(
            session,
            weights_digest=hashlib.sha256(b"weights").hexdigest(),
            name="spine",
            training_run=run,
            operating_points={"stenosis": 0.5},
            uid_source=lambda: "2.25.1",
            decided_by="test",
            clock=context.clock,
        )
        promote(session, "spine", decided_by="test", reason="a test", clock=context.clock)
        session.flush()
        key = model.id or 0
    with Predictor(context) as predictor:
        for person in people:
            _predict(context, predictor, person, key)
    with (context.folder.root / "children.log").open("a") as log:
        log.writelines(f"Traceback: {person.study} {person.mark}\n" for person in people)


def complete(context: Context, study: str) -> None:
    """Record a study as complete."""
    from plugin.stages.complete import complete_study

    complete_study(context, study, by="test", reason="a test")


def _predict(context: Context, predictor: Predictor, person: Person, model_id: int) -> None:
    store = DicomStore(context.folder.root)
    with context.database.write() as session:
        model = session.get_one(Model, model_id)
        digest = study_digest(session, person.study)
        stored = store_predictions(
            session,
            model,
            person.study,
            digest,
            [SitePrediction("stenosis", "L4-L5", 0.7)],
            model.operating_points,
            context.clock,
            {"stenosis": Stage.LIVE},
        )
        evidence = [
            pydicom.dcmread(store.path(row.digest), stop_before_pixels=True)
            for row in instances_of(session, person.study)
        ]
        predictor._report(session, model, person.study, stored, evidence)


def occurrences(root: Path, words: list[str]) -> list[tuple[str, str]]:
    """Return each file below a folder that holds a word in any encoding that is in use."""
    needles = {needle: word for word in words for needle in _encoded(word)}
    found = []
    for path in sorted(root.rglob("*")):
        if path.is_file() and not path.is_symlink():
            data = path.read_bytes() + path.name.encode()
            found += [
                (str(path.relative_to(root)), word)
                for needle, word in needles.items()
                if needle in data
            ]
    return found


def _encoded(word: str) -> Iterator[bytes]:
    plain = word.encode()
    yield plain
    yield plain.hex().encode()
    for text in (word.encode("utf-16-le"), word.encode("utf-16-be")):
        yield text
    for text in (plain, word.encode("utf-16-le")):
        for shift in range(3):
            whole = base64.b64encode(b"\0" * shift + text)
            # What lies wholly inside the word, whatever stands before and behind it.
            start = -(-shift * 8 // 6)
            yield whole[start : (shift + len(text)) * 8 // 6]


def rows_about(context: Context, person: Person) -> dict[str, list[tuple[object, ...]]]:
    """Return every row that holds a word of a person, by table, as it is in the database."""
    import sqlalchemy as sa
    from sqlmodel import SQLModel

    found: dict[str, list[tuple[object, ...]]] = {}
    with context.database.read() as session:
        for table in SQLModel.metadata.sorted_tables:
            for row in session.connection().execute(sa.select(table)):
                if any(word in str(tuple(row)) for word in person.words()):
                    found.setdefault(table.name, []).append(tuple(row))
    return found


def study_of(context: Context, person: Person) -> Study | None:
    with context.database.read() as session:
        return session.get(Study, person.study)
