import pytest

from labeling.sections import READ, Kind, find_sections, find_sentences, refusal

FULL = """MRI LUMBAR SPINE

HISTORY: Low back pain, known
stenosis.

TECHNIQUE: Sagittal T1, T2.

FINDINGS:
Alignment is normal. L4-L5: There is a disc bulge with
mild stenosis at
L4-L5. Height 4.5 mm.No herniation.

L5-S1: normal
IMPRESSION:
1. Stenosis at L4-L5.
2. No herniation
"""


def kinds(text):
    return [section.kind for section in find_sections(text)]


def sentences(text):
    return [
        text[each.start : each.end]
        for section in find_sections(text)
        if section.kind in READ
        for each in find_sentences(text, section)
    ]


@pytest.mark.parametrize("text", [FULL, FULL.replace("\n", "\r\n"), FULL.replace("\n", "\r")])
def test_sections_of_a_report_whatever_its_line_breaks(text):
    assert kinds(text) == ["title", "history", "technique", "findings", "impression"]
    assert [" ".join(each.split()) for each in sentences(text)] == [
        "Alignment is normal.",
        "L4-L5: There is a disc bulge with mild stenosis at L4-L5.",
        "Height 4.5 mm.",
        "No herniation.",
        "L5-S1: normal",
        "Stenosis at L4-L5.",
        "No herniation",
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("HISTORY: pain. TECHNIQUE: MRI. FINDINGS: x. IMPRESSION: Normal.",
         ["history", "technique", "findings", "impression"]),
        ("Clinical history: ?stenosis\n\nThere is a herniation.", ["history", "body"]),
        ("Indication:\n\nstenosis?\n\nNo slip.\n\nOpinion: normal",
         ["history", "body", "impression"]),
        ("L4/5 disc bulge", ["body"]),
        ("FINDINGS: a.\nADDENDUM: b.", ["findings", "addendum"]),
        ("No stenosis.\nConclusion: none", ["body", "impression"]),
        ("FINDINGS: a.\nRecommendation: rule out stenosis", ["findings", "recommendation"]),
    ],
)  # fmt: skip
def test_headings(text, expected):
    assert kinds(text) == expected


def test_sentences_of_one_line_share_a_paragraph():
    section = find_sections("One. Two.\nThree.")[0]
    assert [s.paragraph for s in find_sentences("One. Two.\nThree.", section)] == [0, 0, 1]


def test_abbreviations_do_not_end_a_sentence():
    assert sentences("A bulge of approx. 4 mm vs. 5 mm. No slip.") == [
        "A bulge of approx. 4 mm vs. 5 mm.",
        "No slip.",
    ]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "empty"),
        (" \n\t", "empty"),
        ("x " * 50_000, "longer"),
        ("\x00\x01\x02" * 50 + "stenosis", "not text"),
        ("�" * 20 + " stenosis", "not text"),
        ("12345 67", "no words"),
        ("stenosis " * 120_000, "longer"),
        ("\x89PNG\x9d\x81\x8f" * 9, "not text"),
    ],
)
def test_what_cannot_be_read_is_refused(text, reason):
    assert reason in (refusal(text) or "")


def test_reports_are_not_refused():
    assert refusal(FULL) is None
    assert refusal("LSS MRI\nL4/5 prolapse") is None


def test_history_never_counts_as_read():
    assert Kind.HISTORY not in READ
    assert Kind.TECHNIQUE not in READ
    assert Kind.COMPARISON not in READ
