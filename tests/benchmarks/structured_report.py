"""Reports built and written per second, beside highdicom's plain TID 1500 of the same findings.

Run ``python -m tests.benchmarks.structured_report``; the last line is JSON.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable
from io import BytesIO

from highdicom.sr import (
    AlgorithmIdentification,
    CodedConcept,
    Comprehensive3DSR,
    DeviceObserverIdentifyingAttributes,
    FindingSite,
    Measurement,
    MeasurementReport,
    MeasurementsAndQualitativeEvaluations,
    ObservationContext,
    ObserverContext,
    QualitativeEvaluation,
    TrackingIdentifier,
)
from highdicom.uid import UID
from pydicom.dataset import Dataset

from dicom_node.sr.building import build_structured_report, encode
from dicom_node.sr.content import STATE_CODES, ConceptCode, Finding, FindingState
from tests import sr_builders as given

ROUNDS, REPORTS, IMAGES = 5, 10, 40
CONDITIONS = (given.NARROWING, given.STENOSIS)
EVIDENCE = given.images(IMAGES)
FINDINGS = [
    Finding(condition, code, site, 0.1 + 0.2 * number, 0.43, FindingState.PRESENT)
    for condition in CONDITIONS
    for number, (site, code) in enumerate(given.DISCS.items())
]


def ours() -> Dataset:
    """Build the report as the node does."""
    return build_structured_report(
        EVIDENCE,
        FINDINGS,
        given.ALGORITHM,
        given.DEVICE,
        given.MRI,
        given.ANALYSED_AT,
        ("weights", "study"),
    )


def coded(code: ConceptCode) -> CodedConcept:
    return CodedConcept(code.value, code.scheme, code.meaning)


def plain_group(finding: Finding) -> MeasurementsAndQualitativeEvaluations:
    algorithm = given.ALGORITHM
    identified = AlgorithmIdentification(
        algorithm.name,
        algorithm.version,
        [f"threshold={finding.threshold}", *(f"{k}={v}" for k, v in algorithm.parameters.items())],
        manufacturer=algorithm.manufacturer,
        family=CodedConcept("123110", "DCM", "Artificial Intelligence"),
    )
    measurement = Measurement(
        CodedConcept("122157", "DCM", "Probability"),
        100 * (finding.probability or 0),
        CodedConcept("%", "UCUM", "percent"),
        algorithm_id=identified,
    )
    condition = coded(finding.condition)
    return MeasurementsAndQualitativeEvaluations(
        TrackingIdentifier(uid=UID(), identifier=finding.site_id),
        finding_type=condition,
        finding_sites=[FindingSite(coded(finding.site))] if finding.site else None,
        measurements=[measurement],
        qualitative_evaluations=[
            QualitativeEvaluation(condition, coded(STATE_CODES[finding.state]))
        ],
    )


def plain() -> Dataset:
    """Build the same findings as highdicom's documentation shows, with nothing added."""
    observer = DeviceObserverIdentifyingAttributes(given.DEVICE.uid, given.DEVICE.name)
    report = MeasurementReport(
        ObservationContext(
            observer_device_context=ObserverContext(
                CodedConcept("121007", "DCM", "Device"), observer
            )
        ),
        coded(given.MRI),
        [plain_group(finding) for finding in FINDINGS],
    )
    return Comprehensive3DSR(
        EVIDENCE,
        report,
        series_instance_uid=UID(),
        series_number=1,
        sop_instance_uid=UID(),
        instance_number=1,
        manufacturer="radloop",
    )


def write_plain(document: Dataset) -> bytes:
    buffer = BytesIO()
    document.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def rate(work: Callable[[], object]) -> float:
    """Return how often ``work`` is done in a second."""
    start = time.perf_counter()
    for _ in range(REPORTS):
        work()
    return REPORTS / (time.perf_counter() - start)


def main() -> None:
    """Measure the four in turn, round after round, and print the medians."""
    own, other = ours(), plain()
    work: dict[str, Callable[[], object]] = {
        "radloop build": ours,
        "highdicom build": plain,
        "radloop encode": lambda: encode(own),
        "highdicom encode": lambda: write_plain(other),
    }
    rates: dict[str, list[float]] = {name: [] for name in work}
    for _ in range(ROUNDS):
        for name, task in work.items():
            rates[name].append(rate(task))
    median = {name: statistics.median(values) for name, values in rates.items()}
    print(f"{len(FINDINGS)} groups, {IMAGES} images; median of {ROUNDS} rounds of {REPORTS}")
    for name, value in median.items():
        spread = f"{min(rates[name]):.1f} to {max(rates[name]):.1f}"
        print(f"{name:<18} {value:8.1f}/s   ({spread}; {1000 / value:.1f} ms)")
    ratio = median["radloop build"] / median["highdicom build"]
    print(f"radloop builds {ratio:.2f} times as fast as plain highdicom")
    print(
        json.dumps(
            {
                "benchmark": "structured_report",
                "groups": len(FINDINGS),
                "per_second": {name: round(value, 1) for name, value in median.items()},
                "build_ratio": round(ratio, 2),
            }
        )
    )


if __name__ == "__main__":
    main()
