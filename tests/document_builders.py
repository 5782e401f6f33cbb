"""Documents as archives and workstations send them: text reports, measurements, rejection notes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydicom.dataset import Dataset
from pydicom.uid import UID

from tests.builders import mr_image, uid

BASIC_TEXT = "1.2.840.10008.5.1.4.1.1.88.11"
ENHANCED = "1.2.840.10008.5.1.4.1.1.88.22"
COMPREHENSIVE_3D = "1.2.840.10008.5.1.4.1.1.88.34"
DOSE = "1.2.840.10008.5.1.4.1.1.88.67"
KEY_OBJECTS = "1.2.840.10008.5.1.4.1.1.88.59"
PERSON, DEVICE = "121006", "121007"


def code(value: str, scheme: str = "DCM") -> Dataset:
    """Return a code whose meaning is its value."""
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, value
    return item


def content_item(kind: str, name: Dataset, *below: Dataset, **values: Any) -> Dataset:
    """Return a content item; ``values`` are keywords."""
    item = Dataset()
    item.RelationshipType, item.ValueType = "CONTAINS", kind
    item.ConceptNameCodeSequence = [name]
    for keyword, value in values.items():
        setattr(item, keyword, value)
    if below:
        item.ContentSequence = list(below)
    return item


def references(instances: Sequence[tuple[str, str, str]]) -> list[Dataset]:
    """Return a SOP Instance Reference Macro of (study, series, instance), one item each study."""
    found: dict[str, Dataset] = {}
    for study, series, sop_instance_uid in instances:
        instance, of_series = Dataset(), Dataset()
        instance.ReferencedSOPClassUID = UID("1.2.840.10008.5.1.4.1.1.4")
        instance.ReferencedSOPInstanceUID = sop_instance_uid
        of_series.SeriesInstanceUID = series
        of_series.ReferencedSOPSequence = [instance]
        of_study = found.setdefault(study, Dataset())
        of_study.StudyInstanceUID = study
        of_study.ReferencedSeriesSequence = [
            *of_study.get("ReferencedSeriesSequence", ()),
            of_series,
        ]
    return list(found.values())


def document(
    name: str = "document",
    *items: Dataset,
    study: str = "S1",
    patient: str = "P1",
    sop_class: str = BASIC_TEXT,
    title: Dataset | None = None,
    **values: Any,
) -> Dataset:
    """Return a document of the study that ``mr_image`` makes; ``values`` are keywords."""
    made = mr_image(patient, study)
    for keyword in ("PixelData", "Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit"):
        del made[keyword]
    for keyword in ("PixelRepresentation", "SamplesPerPixel", "PhotometricInterpretation"):
        del made[keyword]
    made.IssuerOfPatientID = "HOSP"
    made.SOPClassUID, made.SOPInstanceUID = UID(sop_class), uid("document", study, name)
    made.SeriesInstanceUID, made.Modality = uid("documents", study, name), "SR"
    made.CompletionFlag, made.VerificationFlag = "COMPLETE", "UNVERIFIED"
    made.ContentDate, made.ContentTime = "20260103", "120000"
    made.ValueType = "CONTAINER"
    made.ConceptNameCodeSequence = [title or code("18748-4", "LN")]
    made.ContentSequence = list(items)
    for keyword, value in values.items():
        setattr(made, keyword, value)
    return made


def observer(kind: str = PERSON) -> Dataset:
    """Return the item that says who observed."""
    return content_item("CODE", code("121005"), ConceptCodeSequence=[code(kind)])


def person(name: str = "Reader^Rita") -> Dataset:
    """Return the item that names the person who observed."""
    return content_item("PNAME", code("121008"), PersonName=name)


def author(kind: str, name: str = "Reader^Rita") -> Dataset:
    """Return who wrote a document, as its header says: ``PSN`` or ``DEV`` (PS3.3 C.17.2)."""
    item = Dataset()
    item.ObserverType = kind
    if kind == "PSN":
        item.PersonName = name
    else:
        item.StationName, item.ManufacturerModelName = "CAD1", "AIcad"
    return item


def in_relation(relationship: str, item: Dataset) -> Dataset:
    """Return a content item in another relation to its parent than CONTAINS."""
    item.RelationshipType = relationship
    return item


def nested(item: Dataset, containers: int) -> Dataset:
    """Return an item below so many containers."""
    for _ in range(containers):
        item = content_item("CONTAINER", code("121070"), item)
    return item


def findings(text: str) -> Dataset:
    """Return a section of findings."""
    line = content_item("TEXT", code("121071"), TextValue=text)
    return content_item("CONTAINER", code("121070"), line)


def verified(name: str = "Reader^Rita") -> dict[str, Any]:
    """Return the keywords of a document that a person verified."""
    verifier = Dataset()
    verifier.VerifyingObserverName, verifier.VerificationDateTime = name, "20260103121500"
    verifier.VerifyingOrganization = "Hospital"
    return {"VerificationFlag": "VERIFIED", "VerifyingObserverSequence": [verifier]}


def text_report(text: str = "Disc herniation at L4/L5.", **values: Any) -> Dataset:
    """Return a report that a person wrote and verified."""
    name = values.pop("name", "report")
    return document(
        name, observer(), person(), findings(text), **{**verified(), **values}
    )  # fmt: skip


def measurements(name: str, *items: Dataset, tracking: str = "", **values: Any) -> Dataset:
    """Return a measurement report (TID 1500) with one group."""
    template = Dataset()
    template.MappingResource, template.TemplateIdentifier = "DCMR", "1500"
    inside = [content_item("UIDREF", code("112040"), UID=tracking)] if tracking else []
    inside.append(content_item("TEXT", code("121106"), TextValue="wider than before"))
    group = content_item("CONTAINER", code("125007"), *inside)
    return document(
        name,
        *items,
        content_item("CONTAINER", code("126010"), group),
        sop_class=COMPREHENSIVE_3D,
        title=code("126000"),
        ContentTemplateSequence=[template],
        **values,
    )


def named(image: Dataset) -> tuple[str, str, str]:
    """Return study, series and instance of an object."""
    return str(image.StudyInstanceUID), str(image.SeriesInstanceUID), str(image.SOPInstanceUID)


def rejection_note(
    rejected: Sequence[Dataset], title: str = "113001", name: str = "note", **values: Any
) -> Dataset:
    """Return a key object selection after IHE RAD IOCM that names these objects."""
    made = document(name, sop_class=KEY_OBJECTS, title=code(title), **values)
    made.Modality = "KO"
    del made.CompletionFlag, made.VerificationFlag
    made.CurrentRequestedProcedureEvidenceSequence = references([named(each) for each in rejected])
    return made
