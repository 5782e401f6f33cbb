"""Pages and texts for people: complete, harmless, and honest about what was not evaluated."""

import dataclasses
from html.parser import HTMLParser

import pytest

from dicom_node.errors import Permanent
from dicom_node.sr.building import build_structured_report
from dicom_node.sr.content import WARNING, ConceptCode
from dicom_node.sr.rendering import render_html, render_text
from tests import sr_builders as given_study


def build(findings=None, **values):
    return build_structured_report(
        given_study.images(**values),
        given_study.findings() if findings is None else findings,
        given_study.ALGORITHM,
        given_study.DEVICE,
        given_study.MRI,
        given_study.ANALYSED_AT,
        ("weights", "study"),
    )


class Page(HTMLParser):
    """Collects the tags and the text of a page."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.attributes, self.words = [], [], []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [name for name, _ in attrs]

    def handle_data(self, data):
        self.words.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())


def test_text_says_all():
    text = render_text(build())
    assert text.startswith("*** RESEARCH USE ONLY - NOT FOR DIAGNOSIS")
    assert "Müller, Zoë" in text
    plain = " ".join(text.split())
    assert "+ Disc narrowing L4-L5 91.2 % present (threshold 43.0 %)" in plain
    assert "L3-L4 not evaluated: disc was not found" in plain
    assert "3 instances in 2 series" in text
    assert "preliminary, complete, unverified" in text
    assert f"weights_digest: {'ab' * 32}" in text


def test_page_shows_the_warning_first_and_every_finding():
    page = Page(render_html(build()))
    body = page.text[page.text.index("}", page.text.rindex("break-inside")) :]
    assert body.index(WARNING) < body.index("Summary") < body.index("Findings")
    for shown in ("91.2 %", "disc was not found", "not evaluated", "undetermined", "P0001"):
        assert shown in body
    assert page.tags.count("tr") == len(given_study.findings()) + 2


def test_page_loads_and_runs_nothing():
    page = Page(render_html(build()))
    assert not {"script", "img", "link", "iframe", "object"} & set(page.tags)
    assert not {"src", "href"} & set(page.attributes)
    assert not [name for name in page.attributes if name.startswith("on")]


HOSTILE = "<script>alert('x')</script>\x1b[31m"


def test_hostile_values_stay_text():
    finding = given_study.findings()[2]
    finding = dataclasses.replace(
        finding,
        condition=ConceptCode("X", "99X", "<b onclick=x>bold"),
        reason=HOSTILE,
        site_id='"><img>',
    )
    document = build([finding], PatientName="<i>^Eve", StudyDescription="<u>$title</u>")
    page = Page(render_html(document))
    assert not {"script", "img", "i", "u"} & set(page.tags[page.tags.index("body") :])
    assert "<script>alert('x')</script>" in page.text
    assert "$title" in page.text
    assert "\x1b" not in render_text(document)
    assert "\\x1b[31m" in render_text(document)


def test_what_is_no_report_is_refused():
    for render in (render_text, render_html):
        with pytest.raises(Permanent):
            render(given_study.images(1)[0])
