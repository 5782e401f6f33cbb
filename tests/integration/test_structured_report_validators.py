"""What validators and foreign readers say of our reports; each is found on the machine."""

import json
import re

import pydicom
import pytest

from dicom_node.sr.building import build_structured_report, encode
from dicom_node.sr.content import ConceptCode
from tests import peers
from tests import sr_builders as given_study

pytestmark = pytest.mark.peer

MEASUREMENT_REPORT = ConceptCode("126000", "DCM", "Imaging Measurement Report")
"""Under its standard title a validator checks the template strictly; under ours, hardly."""

JAVA_OPTIONS = " ".join(
    (
        *("-Djdk.xml.xpathExprOpLimit=0", "-Djdk.xml.xpathTotalOpLimit=0"),
        *("-Djdk.xml.xpathExprGrpLimit=0", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"),
    )
)
"""Without the first three PixelMed's style sheets stop half way on current JDKs, with exit
status 0; the others halve the time of a run."""


def build(findings, **options):
    return build_structured_report(
        given_study.images(),
        findings,
        given_study.ALGORITHM,
        given_study.DEVICE,
        given_study.MRI,
        given_study.ANALYSED_AT,
        ("weights", "study"),
        **options,
    )


@pytest.fixture(scope="module", params=["own title", "standard title"])
def report(request, tmp_path_factory):
    options = {"title": MEASUREMENT_REPORT} if request.param == "standard title" else {}
    document = build(given_study.findings()[2:], **options)
    path = tmp_path_factory.mktemp("report") / "report.dcm"
    path.write_bytes(encode(document))
    return path


def errors(output):
    return [line for line in output.splitlines() if re.match(r"\s*error", line, re.IGNORECASE)]


def test_dciodvfy_knows_the_iod_and_finds_no_error(report):
    _, output = peers.run_program("dciodvfy", "-new", report)
    assert re.search(r"^Comprehensive3DSR$", output, re.MULTILINE), output
    assert errors(output) == []


def test_dcmtk_reads_and_prints_it(report, tmp_path):
    status, output = peers.run_program("dsrdump", report)
    assert status == 0, output
    assert errors(output) == []
    page = tmp_path / "report.html"
    status, output = peers.run_program("dsr2html", report, page)
    assert status == 0, output
    assert "disc was not found" in page.read_text(encoding="utf-8")


def test_pixelmed_completes_and_finds_no_error(report):
    _, output = peers.run_program("DicomSRValidator", report, JAVA_TOOL_OPTIONS=JAVA_OPTIONS)
    assert "IOD validation complete" in output
    assert "Found Root Template TID_1500" in output
    assert errors(output) == []


def test_dcmqi_reads_every_group(report, tmp_path):
    metadata = tmp_path / "read.json"
    status, output = peers.run_program(
        "tid1500reader", "--inputDICOM", report, "--outputMetadata", metadata
    )
    assert status == 0, output
    groups = json.loads(metadata.read_text(encoding="utf-8"))["Measurements"]
    written = pydicom.dcmread(report).ContentSequence[-1].ContentSequence
    assert len(groups) == len(written)
    for group, container in zip(groups, written, strict=True):
        assert group["TrackingIdentifier"] == container.ContentSequence[0].TextValue
        values = [float(item["value"]) for item in group.get("measurementItems", [])]
        measured = [i for i in container.ContentSequence if i.ValueType == "NUM"]
        assert values == [float(i.MeasuredValueSequence[0].NumericValue) for i in measured]


def test_highdicom_reads_every_group(report):
    from highdicom.sr import srread

    groups = srread(report).content.get_image_measurement_groups()
    assert len(groups) == len(pydicom.dcmread(report).ContentSequence[-1].ContentSequence)


@pytest.mark.parametrize("missing", ["CompletionFlag", "VerificationFlag", "ReferencedPerformed"])
def test_the_validators_would_see_a_missing_attribute(missing, tmp_path):
    """A validator that finds nothing wrong with a broken report would prove nothing."""
    document = build(given_study.findings())
    for keyword in document.dir(missing):
        delattr(document, keyword)
    path = tmp_path / "broken.dcm"
    path.write_bytes(encode(document))
    _, output = peers.run_program("dciodvfy", "-new", path)
    assert errors(output)
