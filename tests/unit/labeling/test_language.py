import csv
import tarfile
from dataclasses import fields, replace

import defusedxml.ElementTree as ElementTree
import pytest

from dicom_node.reports.headings import english_headings
from labeling import language
from labeling.cues import Cues
from labeling.labeler import checked
from labeling.language import InvalidLanguagePack, load_languages
from labeling.rules.labeler import RuleLabeler
from labeling.schema_file import shipped_schema
from labeling.sections import UnreadableReport, read_report
from labeling.settings import LabelingSettings
from labeling.vocabulary import WHOLE, State
from tests.foreign_reports import ENGLISH_NOTES, NOTES, REPORTS
from tests.labeling_builders import setup_of
from tests.shared_data import shared_file

ENGLISH = load_languages()
SCHEMA = shipped_schema("spine")
LANGUAGE = "code: de\nname: German\nwords: der die das und ist keine mit ohne befund\n"
HEADINGS = "headings:\n  history: [klinik, anamnese]\n  findings: [befund]\n"
GERMAN = (
    "Anamnese: Bekannte Stenose der Wirbelsäule.\n"
    "Befund: Es zeigt sich ein Bandscheibenvorfall in Höhe L4/5 ohne Einengung des Kanals."
)


def pack(folder, **files):
    folder.mkdir(exist_ok=True)
    for name, content in {"language": LANGUAGE, "headings": HEADINGS, **files}.items():
        (folder / f"{name}.yaml").write_text(content, encoding="utf-8")
    return folder


def read(text, languages=ENGLISH, **settings):
    report = read_report(text, languages, LabelingSettings.model_validate(settings))
    return [text[start:end] for start, end in report.spans]


@pytest.mark.parametrize("code", REPORTS)
def test_a_report_in_a_language_without_a_pack_is_refused(code):
    with pytest.raises(UnreadableReport, match=r"^language: "):
        read(REPORTS[code])


@pytest.mark.parametrize("code", NOTES)
def test_so_is_a_short_note(code):
    with pytest.raises(UnreadableReport, match=r"^language: "):
        read(NOTES[code])


@pytest.mark.parametrize("text", [*ENGLISH_NOTES, *(note.upper() for note in ENGLISH_NOTES)])
def test_no_english_note_is_refused_however_clipped(text):
    assert ENGLISH.pack_of(text).code == "en"


def test_foreign_reports_fail_and_are_never_absent():
    labeler = RuleLabeler(setup_of(SCHEMA))
    reason = "language: the report is not written in English"
    for results in labeler.label_reports(list(REPORTS.values())):
        assert {each.state for each in results} == {State.FAILED}
        assert {each.detail for each in results} == {reason}


def test_a_site_adds_a_language(tmp_path):
    languages = load_languages([pack(tmp_path / "german")])
    assert languages.pack_of(GERMAN).name == "German"
    assert languages.pack_of("No stenosis at any level.").name == "English"
    assert read(GERMAN, languages) == [GERMAN[GERMAN.index("Es zeigt") :]]
    assert languages.digest != ENGLISH.digest
    (reason,) = {each.detail for each in _rules(languages).label_report(GERMAN)}
    assert reason == "language: the pack for German has no words for rules"


def test_rules_read_a_language_whose_pack_has_cues_and_a_lexicon(tmp_path):
    empty = dict.fromkeys(_cue_names(), "[]")
    cues = {**empty, "denials": "[kein, keine, ohne]"}
    folder = pack(
        tmp_path / "german",
        cues="\n".join(f"{name}: {value}" for name, value in cues.items()),
        **{"spine.rules": "observations:\n  herniation:\n    present: [Bandscheibenvorfall]\n"
           "  stenosis:\n    present: [Einengung]\n"},
    )  # fmt: skip
    labels = _rules(load_languages([folder])).label_report(GERMAN)
    states = {(each.observation, each.site): each.state for each in labels}
    assert states["herniation", "L4-L5"] is State.PRESENT
    assert states["stenosis", "L4-L5"] is State.ABSENT
    assert states["spondylolisthesis", WHOLE] is State.NOT_MENTIONED


def _rules(languages):
    setup = setup_of(SCHEMA)
    return RuleLabeler(type(setup)(SCHEMA, setup.settings, setup.model_store, languages=languages))


def _cue_names():
    return [each.name for each in fields(Cues)]


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"language": "code: de\nname: German\n"},
         r"german/language.yaml, line 1.*missing key words"),
        ({"language": LANGUAGE.replace(" de", " Deutsch", 1)}, r"line 1, code: .*ISO 639"),
        ({"language": LANGUAGE + "colour: red\n"}, r"line 4, colour: unknown key"),
        ({"headings": "headings:\n  befund: [x]\n"}, r"line 2, headings.befund: unknown key"),
        ({"headings": "headings:\n  findings: ['(befund']\n"},
         r"headings.yaml, line 2, headings.findings\[0\]: not a regular expression"),
        ({"headings": "headings:\n  findings: ['(b)efund']\n"}, r"must not capture"),
        ({"headings": "headings:\n  findings: ['(?:befund)?']\n"}, r"matches nothing"),
        ({"cues": "denials: [kein]\n"}, r"cues.yaml, line 1.*missing key"),
        ({"cues": "denials: [kein"}, r"german/cues.yaml, line"),
        ({"prompt": "x: y"}, r"german/prompt.yaml: no labeler asks"),
        ({"token_scores": "x: y"}, r"german/token_scores.yaml: (missing|unknown) key"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_pack_is_named_by_file_line_and_key(tmp_path, files, message):
    with pytest.raises(InvalidLanguagePack, match=message):
        load_languages([pack(tmp_path / "german", **files)])


def test_prompts_must_keep_the_placeholders_of_the_english_ones(tmp_path):
    texts = dict(ENGLISH.packs["en"].prompts["token_scores"])
    name, text = next((k, v) for k, v in texts.items() if "{name}" in v)
    texts[name] = text.replace("{name}", "Befund")
    content = "\n".join(f'"{key}": {value!r}' for key, value in texts.items())
    with pytest.raises(InvalidLanguagePack, match=rf"{name}: the placeholders must be .*name"):
        load_languages([pack(tmp_path / "german", token_scores=content)])


def test_folders_that_are_no_packs_are_named(tmp_path):
    with pytest.raises(InvalidLanguagePack, match="cannot be read"):
        load_languages([tmp_path / "nowhere"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(InvalidLanguagePack, match=r"holds no language\.yaml"):
        load_languages([tmp_path / "empty"])
    german = pack(tmp_path / "german")
    with pytest.raises(InvalidLanguagePack, match="a second pack for de"):
        load_languages([german, german])
    (german / "headings.yaml").unlink()
    with pytest.raises(InvalidLanguagePack, match=r"language.yaml, line 1, code: .*headings.yaml"):
        load_languages([german])


TEXT = """HISTORY: Known stenosis.
TECHNIQUE: Sagittal T2.
COMPARISON: Old stenosis.
FINDINGS: Normal."""


def test_history_and_technique_are_read_only_where_a_site_opts_in():
    assert read(TEXT) == ["Normal."]
    assert read(TEXT, label_history=True) == ["Known stenosis.", "Sagittal T2.", "Normal."]
    for opted_in, state in ((False, State.ABSENT), (True, State.PRESENT)):
        labels = RuleLabeler(setup_of(SCHEMA, label_history=opted_in)).label_report(TEXT)
        whole = next(e for e in labels if (e.observation, e.site) == ("stenosis", WHOLE))
        assert whole.state is state


@pytest.mark.parametrize(
    "text",
    [
        "FINDINGS:\r\n\U0001f9b4 Severe stenosis at L4-L5.\r\nNo slip.",
        "FINDINGS:\r\N{RIGHT-TO-LEFT MARK}Severe stenosis at L4-L5.\r\u202eNo slip.\u202c",
        "FINDINGS: e\u0301tude. Severe stenosis at L4-L5.\u2028No slip.",
    ],
)
def test_evidence_is_exact_whatever_stands_around_it(text):
    labels = checked(RuleLabeler(setup_of(SCHEMA)).label_report(text), SCHEMA, text)
    found = next(e for e in labels if (e.observation, e.site) == ("stenosis", "L4-L5"))
    assert "Severe stenosis at L4-L5." in text[slice(*found.evidence[0])]
    assert found.severity == "severe"


def test_no_real_english_report_is_refused():
    try:
        notes = shared_file("data/sudirman_lumbar_notes/notes.csv")
        reports = shared_file("data/openi_xml/reports.tar.gz")
    except FileNotFoundError as error:
        pytest.skip(str(error))
    with notes.open(newline="", encoding="utf-8") as file:
        texts = [row["note"] for row in csv.DictReader(file)]
    with tarfile.open(reports) as archive:
        files = sorted((f for f in archive if f.name.endswith(".xml")), key=lambda f: f.name)
        for file in files[::10]:
            tree = ElementTree.fromstring(archive.extractfile(file).read())
            texts.append("\n".join(part.text or "" for part in tree.iter("AbstractText")))
    assert len(texts) > 400
    assert [text for text in texts if text.strip() and ENGLISH.pack_of(text) is None] == []


def test_the_headings_that_come_with_the_node_are_part_of_the_digest(monkeypatch):
    before = load_languages().digest
    own = replace(english_headings(), claims=("another",))
    monkeypatch.setattr(language, "english_headings", lambda: own)
    language._english.cache_clear()
    try:
        assert load_languages().digest != before
    finally:
        monkeypatch.undo()
        language._english.cache_clear()
    assert load_languages().digest == before
