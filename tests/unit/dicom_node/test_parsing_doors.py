"""Only a few files interpret stored objects, and none of them runs in the node's own process."""

import re
from pathlib import Path

import dicom_node

ROOT = Path(dicom_node.__file__).parent.parent
READERS = re.compile(r"\b(dcmread|read_partial|read_dataset|get_decoder|pixel_array|iter_pixels)\b")
INFLATERS = re.compile(r"\b(zlib\.(?!crc32|error)|gzip\.(?!compress)|lzma\.|bz2\.)")
ALLOWED = {
    "dicom_node/headers.py",  # run by the confined child
    "dicom_node/content.py",
    "dicom_node/deidentification/objects.py",
    "plugin/reporting.py",  # shows a report to the person who names its file
    "plugin/stages/send.py",  # reads the report that this node wrote
}
DIRECT = {
    # Where nobody passes an inspector: tests, and tools that run by themselves.
    "dicom_node/inspection.py",
    "dicom_node/indexing.py",
    "dicom_node/reindexing.py",
    "dicom_node/decisions.py",
}


def sources() -> dict[str, str]:
    folders = ("dicom_node", "labeling", "training", "plugin")
    paths = [path for folder in folders for path in (ROOT / folder).rglob("*.py")]
    simulated = ("plugin/simulation", "plugin/demo")
    names = {path.relative_to(ROOT).as_posix(): path.read_text() for path in paths}
    return {name: text for name, text in names.items() if not name.startswith(simulated)}


def test_parsers_and_decoders_have_few_doors() -> None:
    assert {name for name, text in sources().items() if READERS.search(text)} <= ALLOWED


def test_inflation_has_one_door() -> None:
    found = {name for name, text in sources().items() if INFLATERS.search(text)}
    assert found <= {"dicom_node/part10.py"}


def test_the_application_never_inspects_directly() -> None:
    found = {name for name, text in sources().items() if "DirectInspector" in text}
    assert found <= DIRECT
    assert "context.sandbox" in sources()["plugin/app.py"]
