"""The text of embedded documents, in order and whole; or a refusal that quotes nothing."""

import base64
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from dicom_node.content import Undecodable
from dicom_node.hl7 import embedded
from dicom_node.hl7.embedded import document_text
from dicom_node.hl7.parsed import EmbeddedDocument
from tests.hl7_attacks import xxe
from tests.hl7_messages import cda, cda_section, pdf

CANARY = "CANARY-7731"


def text_of(data: bytes | str, media_type: str = "text/xml") -> str:
    return document_text(
        EmbeddedDocument(media_type, data.encode() if isinstance(data, str) else data)
    )


def test_pages_and_lines_of_a_pdf_keep_their_order() -> None:
    pages = [["FINDINGS:", "Disc (L4/L5) narrowed.", "Ödem"], ["IMPRESSION:", "Degenerative."]]
    expected = "FINDINGS:\nDisc (L4/L5) narrowed.\nÖdem\n\nIMPRESSION:\nDegenerative."
    assert text_of(pdf(pages), "application/pdf") == expected


def test_sections_and_blocks_of_a_cda_keep_their_order() -> None:
    first = (
        "<paragraph>One <content styleCode='Bold'>bold</content>\n  word</paragraph>"
        "<list><item>A</item><item>B<br/>C</item></list>"
        "<table><tr><td>L4</td><td>narrow</td></tr><tr><td>L5</td><td>ok</td></tr></table>"
        "<content revised='delete'>old</content><renderMultiMedia referencedObject='x'/>"
        "<content revised='insert'>new</content> &amp; end"
    )
    inner = cda_section("Detail", "<caption>Size</caption>3 mm")
    body = cda_section("Findings", first, inner) + cda_section("Impression", "Fine.")
    assert text_of(cda(f"<structuredBody>{body}</structuredBody>")) == (
        "Findings\nOne bold word\nA\nB\nC\nL4\tnarrow\nL5\tok\nnew & end\n\n"
        "Detail\nSize\n3 mm\n\nImpression\nFine."
    )


@pytest.mark.parametrize("declaration", ["", '<?xml version="1.0" encoding="ISO-8859-1"?>'])
def test_the_declaration_of_a_cda_counts(declaration: str) -> None:
    made = cda(
        f"<structuredBody>{cda_section('T', 'Ödem')}</structuredBody>", declaration=declaration
    )
    assert text_of(made.encode("latin-1" if declaration else "utf-8")) == "T\nÖdem"


def test_a_cda_may_wrap_another_document() -> None:
    data = base64.b64encode(pdf([["Wrapped"]])).decode()
    body = f'<nonXMLBody><text mediaType="application/pdf" representation="B64">{data}</text>'
    assert text_of(cda(f"{body}</nonXMLBody>")) == "Wrapped"
    assert text_of(cda("<nonXMLBody><text>Plain &lt; text</text></nonXMLBody>")) == "Plain < text"


def test_plain_text() -> None:
    assert text_of("\ufeffa\r\nb\rc\x0cd", "text/plain") == "a\nb\nc\nd"


def nested(count: int) -> str:
    return cda(
        f"<structuredBody>{cda_section('T', '<a>' * count + '</a>' * count)}</structuredBody>"
    )


def wrapped(times: int) -> str:
    made = "x"
    for _ in range(times):
        data = base64.b64encode(made.encode()).decode()
        media = "text/plain" if made == "x" else "text/xml"
        made = cda(
            f'<nonXMLBody><text mediaType="{media}" representation="B64">{data}</text></nonXMLBody>'
        )
    return made


@pytest.mark.parametrize(
    ("data", "media_type"),
    [
        (b"", "application/pdf"),
        (b"%PDF-1.4", "application/pdf"),
        (pdf([["x"]])[:200], "application/pdf"),
        (pdf([[""]]), "application/pdf"),
        (pdf([["x"]] * 501), "application/pdf"),
        (pdf([["x"]]).replace(b"/Root 1 0 R", b"/Root 1 0 R /Encrypt 1 0 R"), "application/pdf"),
        (b"", "text/xml"),
        (b"<a", "text/xml"),
        (b"<a/>", "text/xml"),
        (cda("").encode(), "text/xml"),
        (cda("<structuredBody/>").encode(), "text/xml"),
        (cda("<nonXMLBody><text representation='B64'>%</text></nonXMLBody>").encode(), "text/xml"),
        (nested(100).encode(), "text/xml"),
        (nested(100_000).encode(), "text/xml"),
        (wrapped(3).encode(), "text/xml"),
        (b"\xff", "text/plain"),
        (b"a\0b", "text/plain"),
        ("\ufffd".encode(), "text/plain"),
        (b" \n ", "text/plain"),
        (b"x" * 1_048_577, "text/plain"),
        (b"{\\rtf1 x}", "application/rtf"),
        (b"x", "text/html"),
    ],
)
def test_what_is_refused(data: bytes, media_type: str) -> None:
    with pytest.raises(Undecodable) as caught:
        text_of(data, media_type)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 100


def test_a_document_may_be_wrapped_once() -> None:
    assert text_of(wrapped(1)) == "x"


def test_the_reader_of_messages_does_not_load_parsers_of_documents() -> None:
    source = Path(embedded.__file__).parent
    loads = {path.name for path in source.glob("*.py") if "embedded import" in path.read_text()}
    assert loads == set()


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        yield server


def test_twenty_payloads_fetch_nothing(listener: socket.socket, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text(CANARY)
    address = f"http://127.0.0.1:{listener.getsockname()[1]}/x"
    payloads = xxe(address, str(secret))
    assert len(payloads) == 20
    for name, data in payloads.items():
        try:
            text = text_of(data)
        except Undecodable:
            text = ""
        assert "CANARY" not in text, name
        assert len(text) < 10_000, name
    with pytest.raises(BlockingIOError):
        listener.accept()
