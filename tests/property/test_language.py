import tempfile
from contextlib import suppress
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from labeling.language import InvalidLanguagePack, load_languages
from labeling.sections import UnreadableReport, read_report
from labeling.settings import LabelingSettings
from tests.foreign_reports import ENGLISH_NOTES, NOTES

LANGUAGES = load_languages()
pieces = st.sampled_from(
    [*ENGLISH_NOTES, *NOTES.values(), "\r\n", "\r", "\n\n", "HISTORY:", "Findings: ", "\U0001f9b4",
     "\u202e", "\N{ZERO WIDTH JOINER}", "\ufeff", "e.g. ", "ADDENDUM:\n"]
)  # fmt: skip
texts = st.one_of(st.text(max_size=120), st.lists(pieces, max_size=12).map("".join))


@settings(max_examples=40, deadline=None)
@given(texts, st.booleans())
def test_a_report_is_refused_or_read_in_exact_ranges(text, history):
    try:
        report = read_report(text, LANGUAGES, LabelingSettings(label_history=history))
    except UnreadableReport:
        return
    assert report.pack.code == "en"
    assert report.spans
    before = 0
    for start, end in report.spans:
        assert before <= start < end <= len(text)
        assert text[start:end] == text[start:end].strip() != ""
        before = end


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(["language.yaml", "headings.yaml", "cues.yaml", "token_scores.yaml"]),
    st.one_of(st.binary(max_size=80), st.text(max_size=80).map(str.encode)),
)
def test_whatever_a_file_of_a_pack_holds_nothing_but_a_refusal_comes_of_it(name, content):
    with tempfile.TemporaryDirectory() as folder:
        pack = Path(folder)
        (pack / "language.yaml").write_text("code: de\nname: German\nwords: der die\n")
        (pack / "headings.yaml").write_text("headings: {findings: [befund]}\n")
        (pack / name).write_bytes(content)
        with suppress(InvalidLanguagePack):
            load_languages([pack])
