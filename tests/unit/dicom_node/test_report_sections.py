"""Sections of reports with and without headings: small texts, then real reports."""

import csv
import io
import tarfile
from functools import lru_cache
from itertools import pairwise

import defusedxml.ElementTree
import pytest

from dicom_node.hl7.parsed import Role
from dicom_node.reports.blocks import Block, join_sections, join_text
from dicom_node.reports.sections import READ, Kind, find_sections
from tests.hl7_builders import shared_folder

KINDS = {
    "COMPARISON": Kind.COMPARISON,
    "INDICATION": Kind.HISTORY,
    "FINDINGS": Kind.FINDINGS,
    "IMPRESSION": Kind.IMPRESSION,
}
EVERY = 10  # of the real reports, one in so many


def found(text):
    return [(each.kind.value, text[each.body : each.end].strip()) for each in find_sections(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("INDICATION: Positive test FINDINGS: clear IMPRESSION: normal",
         [("history", "Positive test"), ("findings", "clear"), ("impression", "normal")]),
        ("FINDINGS: Chest Comparison: There is a mass. IMPRESSION: mass",
         [("findings", "Chest Comparison: There is a mass."), ("impression", "mass")]),
        ("54-year-old male with pain.\nSagittal T1 and T2 images were obtained.\nA disc bulge.",
         [("history", "54-year-old male with pain."),
          ("technique", "Sagittal T1 and T2 images were obtained."), ("body", "A disc bulge.")]),
        ("MRI LUMBAR SPINE\nHistory of a fall.\nA disc bulge.",
         [("body", "MRI LUMBAR SPINE"), ("history", "History of a fall."),
          ("body", "A disc bulge.")]),
        ("Comparison is made to the prior study. A disc bulge.",
         [("comparison", "Comparison is made to the prior study."), ("body", "A disc bulge.")]),
        ("No prior studies. A disc bulge.",
         [("comparison", "No prior studies."), ("body", "A disc bulge.")]),
        ("A disc bulge.\nIn summary, one bulge.",
         [("body", "A disc bulge."), ("impression", "In summary, one bulge.")]),
    ],
)  # fmt: skip
def test_sections(text, expected):
    assert found(text) == expected


@pytest.mark.parametrize("text", [
    "54-year-old male with a disc herniation at L4-L5 seen on T2.",
    "54-year-old male with dyspnea No pneumothorax.",
    "Compared to the prior study, the mass has grown.",
    "Compared to the prior study the mass is unchanged.",
    "Sagittal T2 images were obtained and show a herniation.",
    "History of a fall with evidence of a fracture.",
    "No prior fracture is present.",
    "A bulge. 54-year-old male.",
    "Patient with " + "pain and " * 60 + "a herniation.",
])  # fmt: skip
def test_a_sentence_that_may_hold_a_finding_is_read(text):
    assert {each.kind for each in find_sections(text)} <= READ


def block(text, role=Role.TEXT):
    return Block(text, role, (role, "GDT", ""), "F")


def test_the_role_of_an_obx_counts_where_the_text_has_no_heading():
    blocks = [
        block("TECHNIQUE: T2."),
        block("normal", Role.IMPRESSION),
        block("IMPRESSION: fracture", Role.ADDENDUM),
    ]
    text, sections = join_text(blocks), join_sections(blocks)
    assert [(each.kind, text[each.body : each.end].strip()) for each in sections] == [
        (Kind.TECHNIQUE, "T2."),
        (Kind.IMPRESSION, "normal"),
        (Kind.ADDENDUM, "fracture"),
    ]


def test_an_addendum_after_an_unread_section_is_read_from_the_text_alone():
    text = join_text([block("TECHNIQUE: T2."), block("fracture", Role.ADDENDUM)])
    assert found(text) == [("technique", "T2."), ("body", "fracture")]


# --- real reports ---


@lru_cache
def real_reports():
    """Every tenth report of the chest collection, as its sections."""
    archive = shared_folder("openi_xml") / "reports.tar.gz"
    reports = []
    with tarfile.open(archive) as packed:
        members = sorted(each.name for each in packed.getmembers() if each.name.endswith(".xml"))
        wanted = set(members[::EVERY])
        for member in packed:
            if member.name in wanted and (file := packed.extractfile(member)):
                reports.append(list(_parts(file.read())))
    return [each for each in reports if each]


def _parts(content):
    for element in defusedxml.ElementTree.parse(io.BytesIO(content)).iter("AbstractText"):
        text = " ".join((element.text or "").split())
        if text and element.get("Label") in KINDS:
            yield element.get("Label"), text.replace("XXXX-year-old", "54-year-old")


def _written(parts, form, between):
    """Write a report in one form; return it with the range of each of its parts."""
    text, spans = "", []
    for label, said in parts:
        whole = form.format(label=label, title=label.title(), said=said)
        text += between if text else ""
        spans.append((KINDS[label], len(text) + len(whole) - len(said), len(text) + len(whole)))
        text += whole
    return text, spans


def _measure(form, between):
    """Return by kind the share of sections that are found, and of characters that are read."""
    counts = {kind: [0, 0, 0, 0] for kind in KINDS.values()}
    for parts in real_reports():
        text, spans = _written(parts, form, between)
        sections = find_sections(text)
        assert sections[0].start == 0
        assert sections[-1].end == len(text)
        assert all(one.end == other.start for one, other in pairwise(sections))
        for kind, start, end in spans:
            count = counts[kind]
            count[0] += 1
            count[1] += any(
                each.kind is kind and text[each.body : each.end].strip() == text[start:end]
                for each in sections
            )
            count[2] += end - start
            count[3] += sum(
                max(0, min(end, each.end) - max(start, each.start))
                for each in sections
                if each.kind in READ
            )
    return {kind: (hit / of, read / size) for kind, (of, hit, size, read) in counts.items()}


@pytest.mark.parametrize(
    ("form", "between", "least"),
    [
        ("{label}: {said}", "\n\n", 0.99),
        ("{label}:\n{said}", "\n\n", 0.98),
        ("{title}: {said}", "\n", 0.99),
        ("{title}: {said}", " ", 0.93),
        ("{label}: {said}", " ", 0.93),
    ],
)
def test_real_reports_with_headings(form, between, least):
    shares = _measure(form, between)
    assert all(hit >= least for hit, _read in shares.values()), shares
    for kind, (_hit, read) in shares.items():
        assert read >= 0.995 if kind in READ else read <= 0.005, (kind, read)


@pytest.mark.parametrize("between", ["\n\n", "\n", " "])
def test_real_reports_without_headings_lose_no_findings(between):
    shares = _measure("{said}", between)
    assert shares[Kind.FINDINGS][1] >= 0.99
    assert shares[Kind.IMPRESSION][1] >= 0.99


def test_ages_and_complaints_of_real_reports_are_history_without_a_heading():
    said = [text for parts in real_reports() for label, text in parts if label == "INDICATION"]
    aged = [text for text in said if text.startswith("54-year-old") and "." not in text[:-1]]
    hits = [find_sections(f"{text.rstrip('.')}.\nThe heart is large.") for text in aged]
    assert len(aged) > 50
    assert sum(each[0].kind is Kind.HISTORY for each in hits) >= 0.9 * len(aged)


def test_real_notes_without_headings_are_read():
    path = shared_folder("sudirman_lumbar_notes") / "notes.csv"
    with path.open(encoding="utf-8", newline="") as file:
        notes = [row["note"] for row in csv.DictReader(file)]
    unread = [
        note[each.body : each.end].strip()
        for note in notes
        for each in find_sections(note)
        if each.kind not in READ
    ]
    assert len(notes) > 100
    assert len(unread) == 1
    assert unread[0].startswith("History of")
