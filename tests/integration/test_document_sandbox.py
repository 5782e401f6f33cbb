"""Embedded documents in a confined process: the same text as outside, and nothing else."""

import logging
import socket
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from dicom_node import sandbox_answers
from dicom_node.content import Undecodable
from dicom_node.hl7.embedded import document_text
from dicom_node.hl7.files import read_hl7_file
from dicom_node.hl7.parsed import EmbeddedDocument
from dicom_node.sandbox import Sandbox
from dicom_node.sandbox_frames import Nonsense
from tests.hl7_attacks import xxe
from tests.hl7_builders import shared_folder
from tests.hl7_messages import cda, cda_section, pdf, read


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox() as running:
        yield running


def documents() -> list[EmbeddedDocument]:
    section = cda_section("Findings", "<paragraph>Grüße 椎間板</paragraph>")
    return [
        EmbeddedDocument("application/pdf", pdf([["One", "Two"], ["Three"]])),
        EmbeddedDocument("text/xml", cda(f"<structuredBody>{section}</structuredBody>").encode()),
        EmbeddedDocument("text/plain", b"x\ny"),
    ]


def test_the_same_text_as_outside(sandbox: Sandbox) -> None:
    for each in documents():
        assert sandbox.document_text(each) == document_text(each)


def test_documents_of_the_shared_messages(sandbox: Sandbox) -> None:
    found = {}
    for path in sorted(shared_folder("hl7").rglob("ORU^R01-*.hl7")):
        for content in read_hl7_file(path):
            for report in read(content).reports:
                for part in report.parts:
                    if part.document is not None:
                        found[part.document.media_type] = sandbox.document_text(part.document)
    assert found["application/pdf"].startswith("A Simple PDF File\nThis is a small demonstration")
    assert found["application/pdf"].endswith("The end, and just as well.")
    assert "Impressions\nImpression\nNo acute cardiopulmonary process." in found["text/xml"]


def test_payloads_fetch_nothing(sandbox: Sandbox, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("CANARY")
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        address = f"http://127.0.0.1:{server.getsockname()[1]}/x"
        for data in xxe(address, str(secret)).values():
            try:
                text = sandbox.document_text(EmbeddedDocument("text/xml", data))
            except Undecodable:
                continue
            assert "CANARY" not in text
        with pytest.raises(BlockingIOError):
            server.accept()


def bomb() -> bytes:
    """A PDF whose page inflates to a gigabyte."""
    inflater = zlib.compressobj(9)
    packed = b"".join(inflater.compress(b" " * 2**20) for _ in range(1024)) + inflater.flush()
    made = pdf([["x"]])
    at = made.index(b"<< /Length")
    end = made.index(b"endstream", at)
    head = b"<< /Length %d /Filter /FlateDecode >>\nstream\n" % len(packed)
    return made[:at] + head + packed + b"\n" + made[end:]


@pytest.mark.parametrize(
    "data",
    [
        bomb(),
        pdf([["x"]]).replace(b"/Kids [3 0 R]", b"/Kids [2 0 R]"),
        pdf([["x"]]).replace(b"/Contents 4 0 R", b"/Contents 3 0 R"),
        b"%PDF-1.4\n" + b"<<" * 50_000,
        b"%PDF-1.4\n" + b"[" * 100_000,
    ],
)
def test_hostile_pdfs_are_refused_and_the_next_one_is_read(
    sandbox: Sandbox, data: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with pytest.raises(Undecodable):
        sandbox.document_text(EmbeddedDocument("application/pdf", data))
    assert sandbox.document_text(documents()[0]) == "One\nTwo\n\nThree"
    assert not [each for each in caplog.records if each.name.startswith("pypdf")]


@pytest.mark.parametrize("answer", [{}, {"text": 1}, {"text": "a\0"}, {"text": "x" * 1_048_577}])
def test_answers_that_are_none(answer: dict[str, object]) -> None:
    with pytest.raises(Nonsense):
        sandbox_answers.document_text(answer)


def test_long_texts_come_through(sandbox: Sandbox) -> None:
    text = "ö" * 1_048_576
    assert sandbox.document_text(EmbeddedDocument("text/plain", text.encode())) == text
