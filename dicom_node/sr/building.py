"""Predictions as a Comprehensive 3D SR after TID 1500 (PS3.16), the only door to highdicom.

highdicom builds and checks the templates; what archives and viewers need beyond that is set
afterwards: our own title, SEPARATE containers, the warning and the summary first, the identity of
the stored image as it is stored, UTF-8, and UIDs that depend on the content alone.
"""

from __future__ import annotations

import datetime as dt
import functools
import io
from collections.abc import Iterator, Sequence
from typing import Any

from highdicom import ContributingEquipment
from highdicom.coding_schemes import CodingSchemeIdentificationItem
from highdicom.sr import (
    AlgorithmIdentification,
    CodedConcept,
    Comprehensive3DSR,
    ContainerContentItem,
    DeviceObserverIdentifyingAttributes,
    FindingSite,
    Measurement,
    MeasurementReport,
    MeasurementsAndQualitativeEvaluations,
    ObservationContext,
    ObserverContext,
    QualitativeEvaluation,
    TextContentItem,
    TrackingIdentifier,
)
from pydicom.dataset import Dataset
from pydicom.uid import UID
from pydicom.valuerep import DSfloat

from dicom_node.errors import Permanent
from dicom_node.file_meta import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from dicom_node.sr.content import (
    PRIVATE_SCHEME,
    RESEARCH_TITLE,
    SITE_SEPARATOR,
    STATE_CODES,
    WARNING,
    Algorithm,
    ConceptCode,
    DeviceObserver,
    Finding,
    UidSource,
    deterministic_uid,
    series_description,
    summarise,
)
from dicom_node.sr.identity import common_identity

_PERCENT = CodedConcept("%", "UCUM", "percent")
_PROBABILITY = CodedConcept("122157", "DCM", "Probability")
_COMMENT = CodedConcept("121106", "DCM", "Comment")
_SUMMARY = CodedConcept("121111", "DCM", "Summary")
_DEVICE = CodedConcept("121007", "DCM", "Device")
_ARTIFICIAL_INTELLIGENCE = CodedConcept("123110", "DCM", "Artificial Intelligence")
_PROCESSING_EQUIPMENT = CodedConcept("109102", "DCM", "Processing Equipment")


def build_structured_report(
    evidence: Sequence[Dataset],
    findings: Sequence[Finding],
    algorithm: Algorithm,
    device: DeviceObserver,
    procedure: ConceptCode,
    content_datetime: dt.datetime,
    uid_parts: Sequence[str],
    *,
    title: ConceptCode = RESEARCH_TITLE,
    series_number: int = 9900,
    uid_source: UidSource = deterministic_uid,
) -> Dataset:
    """Build the report of one study; the same input gives the same bytes and UIDs.

    Args:
        evidence: headers of the stored images that were analysed, one study of one patient.
        findings: one for each condition and site, in the order in which they are to be read.
        algorithm: the model; its parameters stand beside each threshold.
        device: who observed.
        procedure: the imaging procedure that was analysed (PS3.16 CID 100), not the algorithm.
        content_datetime: start of the analysis; written as wall-clock time in the zone of the
            images where they name one, else in the zone of the argument. No UID depends on it.
        uid_parts: what the UIDs depend on beside the content, for example the digests of the
            weights and of the analysed instances: a study that grew gets a new report.
        title: document title.
        series_number: Series Number of the series that this report opens.
        uid_source: makes UIDs from texts.

    Returns:
        A data set with file meta information, Explicit VR Little Endian, in a series of its own.

    Raises:
        Permanent: no evidence, no findings, or a value that DICOM cannot carry.
        NeedsReview: the evidence belongs to two patients or two studies.
    """
    identity = common_identity(evidence)
    _check(findings)
    images = sorted(evidence, key=lambda image: (image.SeriesInstanceUID, image.SOPInstanceUID))
    uid = functools.partial(
        uid_source,
        identity.StudyInstanceUID,
        *uid_parts,
        _said(findings, algorithm, device, procedure, title),
    )
    try:
        groups = [_group(f, algorithm, uid("finding", str(n))) for n, f in enumerate(findings)]
        root = _content(groups, summarise(findings), device, procedure, title)
        frame = _frame(
            root,
            [_header(identity, images[0]), *images[1:]],
            device,
            series_instance_uid=uid("series"),
            sop_instance_uid=uid("instance"),
            series_number=series_number,
            series_description=series_description(findings),
            coding_schemes=_private_schemes(findings, procedure, title),
        )
    except (ValueError, TypeError) as error:
        raise Permanent(f"the report cannot be written as DICOM: {error}") from error
    return _finished(frame, root, identity, algorithm, content_datetime)


def encode(document: Dataset) -> bytes:
    """Return the report as a DICOM file (PS3.10); writing it durably is the caller's work."""
    buffer = io.BytesIO()
    document.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def _check(findings: Sequence[Finding]) -> None:
    if not findings:
        raise Permanent("a report needs findings; a site that was not evaluated is one, too")
    subjects = [(finding.condition.value, finding.site_id) for finding in findings]
    if len(set(subjects)) < len(subjects):
        raise Permanent("a report says one thing about one condition at one site")


def _said(
    findings: Sequence[Finding],
    algorithm: Algorithm,
    device: DeviceObserver,
    procedure: ConceptCode,
    title: ConceptCode,
) -> str:
    """Everything that the document says, for its UIDs: other content is another document."""
    parameters = sorted(algorithm.parameters.items())
    made_by = (algorithm.name, algorithm.version, algorithm.manufacturer, algorithm.device_uid)
    return repr((title, procedure, device, made_by, parameters, tuple(findings)))


def _header(identity: Dataset, image: Dataset) -> Dataset:
    """What highdicom reads of an image; the identity proper is copied later, unjudged."""
    header = Dataset()
    for keyword in ("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID"):
        setattr(header, keyword, image[keyword].value)
    header.StudyInstanceUID = identity.StudyInstanceUID
    for keyword in (
        *("PatientID", "PatientName", "PatientBirthDate", "PatientSex"),
        *("AccessionNumber", "StudyID", "StudyDate", "StudyTime", "ReferringPhysicianName"),
    ):
        setattr(header, keyword, None)
    return header


def _content(
    groups: Sequence[Any],
    summary: str,
    device: DeviceObserver,
    procedure: ConceptCode,
    title: ConceptCode,
) -> Any:
    """The content tree (TID 1500), warning and summary first, every container SEPARATE."""
    report = MeasurementReport(
        observation_context=ObservationContext(observer_device_context=_observer(device)),
        procedure_reported=_coded(procedure),
        title=_coded(title),
        imaging_measurements=groups,
    )
    root = report[0]
    for place, (name, text) in enumerate(((_COMMENT, WARNING), (_SUMMARY, summary))):
        root.ContentSequence.insert(place, TextContentItem(name, text, "CONTAINS"))
    for container in _containers(root):
        container.ContinuityOfContent = "SEPARATE"
    return root


def _frame(
    root: Any, evidence: Sequence[Dataset], device: DeviceObserver, **attributes: Any
) -> Dataset:
    """The document around the content tree.

    highdicom copies and parses a tree that it is given; ours was built by its templates, so it
    gets the root alone and the tree is hung in afterwards.
    """
    bare = ContainerContentItem(root.name, is_content_continuous=False, template_id="1500")
    bare.ContentSequence = [TextContentItem(_COMMENT, WARNING, "CONTAINS")]
    document: Dataset = Comprehensive3DSR(
        evidence=evidence,
        content=bare,
        instance_number=1,
        manufacturer=device.manufacturer,
        manufacturer_model_name=device.model_name,
        software_versions=device.software_version or None,
        institution_name=device.institution or None,
        is_complete=True,
        is_final=False,
        is_verified=False,
        specific_character_set="ISO_IR 192",
        **attributes,
    )
    return document


def _finished(
    frame: Dataset,
    root: Any,
    identity: Dataset,
    algorithm: Algorithm,
    content_datetime: dt.datetime,
) -> Dataset:
    document = Dataset()
    document.update(frame)
    document.update(identity)
    document.ContentSequence = root.ContentSequence
    document.ContributingEquipmentSequence = [_equipment(algorithm)]
    _set_times(document, content_datetime)
    document.file_meta = frame.file_meta
    document.file_meta.ImplementationClassUID = UID(IMPLEMENTATION_CLASS_UID)
    document.file_meta.ImplementationVersionName = IMPLEMENTATION_VERSION_NAME
    return document


def _observer(device: DeviceObserver) -> Any:
    return ObserverContext(
        observer_type=_DEVICE,
        observer_identifying_attributes=DeviceObserverIdentifyingAttributes(
            uid=device.uid,
            name=device.name,
            manufacturer_name=device.manufacturer,
            model_name=device.model_name,
        ),
    )


def _group(finding: Finding, algorithm: Algorithm, tracking_uid: str) -> Any:
    """One Measurement and Qualitative Evaluation Group (TID 1501)."""
    condition = _coded(finding.condition)
    identified = _identified(algorithm, finding.threshold)
    measured = finding.probability is not None
    group = MeasurementsAndQualitativeEvaluations(
        tracking_identifier=TrackingIdentifier(
            uid=tracking_uid,
            identifier=f"{finding.condition.meaning}{SITE_SEPARATOR}{finding.site_id}",
        ),
        finding_type=condition,
        finding_sites=[FindingSite(_coded(finding.site))] if finding.site else None,
        algorithm_id=None if measured else identified,
        measurements=[_probability(finding.probability, identified)] if measured else None,
        qualitative_evaluations=[
            QualitativeEvaluation(name=condition, value=_coded(STATE_CODES[finding.state]))
        ],
    )
    if finding.reason:
        group[0].ContentSequence.append(TextContentItem(_COMMENT, finding.reason, "CONTAINS"))
    return group


def _probability(probability: float | None, identified: Any) -> Any:
    """TID 300 in per cent: two decimals to read, the exact value as Floating Point Value."""
    percent = 100.0 * (probability or 0.0)
    measurement = Measurement(_PROBABILITY, percent, _PERCENT, algorithm_id=identified)
    value = measurement[0].MeasuredValueSequence[0]
    value.NumericValue = DSfloat(f"{percent:.2f}".rstrip("0").rstrip("."))
    return measurement


def _identified(algorithm: Algorithm, threshold: float | None) -> Any:
    """TID 4019, with the operating point among the parameters."""
    parameters = [f"{name}={value}" for name, value in algorithm.parameters.items()]
    if threshold is not None:
        parameters.insert(0, f"threshold={threshold!r}")
    return AlgorithmIdentification(
        name=algorithm.name,
        version=algorithm.version,
        manufacturer=algorithm.manufacturer,
        parameters=parameters,
        family=_ARTIFICIAL_INTELLIGENCE,
    )


def _equipment(algorithm: Algorithm) -> Dataset:
    """The algorithm as contributing equipment (PS3.3 C.12.1): Device UID names the training."""
    equipment = ContributingEquipment(
        manufacturer=algorithm.manufacturer,
        purpose_of_reference=_PROCESSING_EQUIPMENT,
        manufacturer_model_name=algorithm.name,
        software_versions=algorithm.version,
        contribution_description="Computed the findings of this report",
    )
    equipment.DeviceUID = algorithm.device_uid
    return equipment  # type: ignore[no-any-return]


def _private_schemes(
    findings: Sequence[Finding], procedure: ConceptCode, title: ConceptCode
) -> list[Any]:
    """Declare each private scheme that the document uses (PS3.3 C.12.1.1.1)."""
    used = {title.scheme, procedure.scheme}
    for finding in findings:
        used |= {code.scheme for code in (finding.condition, finding.site) if code}
    names = {PRIVATE_SCHEME: "radloop codes for research results"}
    return [
        CodingSchemeIdentificationItem(
            scheme, name=names.get(scheme, "local codes"), responsible_organization="radloop"
        )
        for scheme in sorted(used)
        if scheme.startswith("99")
    ]


def _set_times(document: Dataset, content_datetime: dt.datetime) -> None:
    try:
        zone = dt.datetime.strptime(document.get("TimezoneOffsetFromUTC") or "", "%z").tzinfo
    except ValueError:  # absent, or not an offset: then it says nothing about our times either
        zone = content_datetime.tzinfo
        document.pop("TimezoneOffsetFromUTC", None)
    moment = content_datetime.astimezone(zone)
    date, time = moment.strftime("%Y%m%d"), moment.strftime("%H%M%S.%f")
    for event in ("InstanceCreation", "Content", "Series"):
        setattr(document, f"{event}Date", date)
        setattr(document, f"{event}Time", time)


def _coded(code: ConceptCode) -> Any:
    return CodedConcept(code.value, code.scheme, code.meaning)


def _containers(item: Dataset) -> Iterator[Dataset]:
    if item.ValueType == "CONTAINER":
        yield item
    for child in item.get("ContentSequence", ()):
        yield from _containers(child)
