import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from labeling.language import load_languages
from labeling.schema_file import shipped_schema
from labeling.sections import read_report
from labeling.settings import LabelingSettings
from labeling.student.examples import (
    Example,
    InvalidExamples,
    allowed_of,
    parted,
    read_examples,
)
from labeling.student.labeler import StudentLabeler, strongest
from labeling.student.scope import Scope, ScopeFinder
from labeling.student.weights_file import InvalidStudent, StudentConfig, shipped_student
from labeling.vocabulary import WHOLE, State
from tests.labeling_builders import setup_of

SPINE = shipped_schema("spine")
SITES = [site.id for site in SPINE.sites]
LANGUAGES = load_languages()


def case_of(text, word, site):
    """Return the scope of the first occurrence of a word for a site of the spine."""
    report = read_report(text, LANGUAGES, LabelingSettings())
    finder = ScopeFinder(SPINE)
    at = text.index(word)
    for sentence, scope in zip(report.sentences, finder.find(text, report.sentences), strict=True):
        if sentence.start <= at < sentence.end:
            offsets = [(at - sentence.start, at - sentence.start + len(word))]
            return Scope(finder.cases(scope, offsets)[0][1 + SITES.index(site)])
    raise AssertionError("no sentence holds the word")


@pytest.mark.parametrize(
    ("text", "word", "site", "expected"),
    [
        ("Herniation at L4-L5.", "Herniation", "L4-L5", Scope.NAMED),
        ("Herniation at L4-L5.", "Herniation", "L3-L4", Scope.OTHER_NAMED),
        ("Bulge at L3-L4, herniation at L4-L5.", "herniation", "L4-L5", Scope.NAMED),
        ("Bulge at L3-L4, herniation at L4-L5.", "herniation", "L3-L4", Scope.BESIDE),
        ("L3-L4: bulge. L4-L5: herniation.", "herniation", "L4-L5", Scope.NAMED),
        ("L4-L5: The disc is dry. The canal is narrow.", "canal", "L4-L5", Scope.HEADED),
        ("L4-L5: The disc is dry. The canal is narrow.", "canal", "L3-L4", Scope.OTHER_HEADED),
        ("L4-L5\nThe canal is narrow.\nRoots are free.", "Roots", "L4-L5", Scope.HEADED),
        ("Bulge at L4-L5. The canal is narrow.", "canal", "L4-L5", Scope.FOLLOWING),
        ("Bulge at L4-L5. The canal is narrow.", "canal", "L1-L2", Scope.OTHER_FOLLOWING),
        ("Bulge at L4-L5.\nThe canal is narrow.", "canal", "L4-L5", Scope.UNPLACED),
        ("Bulge at L4-L5. The remaining levels are normal.", "normal", "L1-L2", Scope.NAMED),
        ("Bulge at L4-L5. The remaining levels are normal.", "normal", "L4-L5", Scope.OTHER_NAMED),
        ("Disc protrusion at C5-C6.", "protrusion", "L4-L5", Scope.OUTSIDE),
    ],
)
def test_what_a_word_speaks_of(text, word, site, expected):
    assert case_of(text, word, site) is expected


def test_evidence_is_where_attention_rests():
    spans = ((0, 5), (6, 9), (10, 20))
    assert strongest(spans, np.array([0.1, 0.6, 0.05])) == ((6, 9),)
    assert strongest(spans, np.array([0.4, 0.6, 0.0])) == ((6, 9), (0, 5))
    assert strongest(spans, np.zeros(3)) == ()


def write(path, *rows):
    path.write_text("\n".join(json.dumps(row) for row in rows) + "\n", "utf-8")
    return path


def test_labels_of_people_and_of_labelers_are_read_alike(tmp_path):
    full = {"state": "present", "levels": {"L4-L5": "absent"}, "evidence": [{"start": 0, "end": 4}]}
    labels = write(
        tmp_path / "labels.jsonl",
        {"id": "1", "patient": "p", "text": "Text one.", "labels": {"stenosis": full}},
        {"id": 2, "labels": {"stenosis": "not_present", "unknown": "present"}},
    )
    first, second = read_examples(labels, SPINE, {"2": "Text two."})
    assert first.patient == "p"
    assert first.allowed["stenosis", WHOLE] == {State.PRESENT}
    assert first.allowed["stenosis", "L4-L5"] == {State.ABSENT}
    assert first.evidence == {("stenosis", WHOLE): ((0, 4),)}
    assert second.text == "Text two."
    assert second.allowed == {
        ("stenosis", WHOLE): {State.UNCERTAIN, State.ABSENT, State.NOT_MENTIONED}
    }


def test_what_failed_teaches_nothing():
    assert len(allowed_of("failed")) == 4


@pytest.mark.parametrize(
    "row",
    [
        {"id": "1", "labels": {}},
        {"id": "1", "text": "Secret words."},
        {"id": "1", "text": "Secret words.", "labels": {"stenosis": "perhaps"}},
        {"id": "1", "text": "Secret words.", "labels": {"stenosis": {
            "state": "present", "evidence": [{"start": 0, "end": 99}]}}},
        [],
    ],
)  # fmt: skip
def test_a_bad_line_is_named_and_not_quoted(tmp_path, row):
    good = {"id": "0", "text": "Text.", "labels": {}}
    with pytest.raises(InvalidExamples, match=r"labels\.jsonl, line 2") as caught:
        read_examples(write(tmp_path / "labels.jsonl", good, row), SPINE)
    assert "Secret" not in str(caught.value)


def test_a_patient_is_never_parted():
    examples = [Example(f"p{i % 40}", f"text {i}", {}) for i in range(200)]
    learn, validate = parted(examples, 0.3, seed=1)
    assert len(learn) + len(validate) == 200
    assert validate
    assert not {e.patient for e in learn} & {e.patient for e in validate}
    assert parted(examples, 0.3, seed=1) == (learn, validate)


def test_the_shipped_student_knows_the_spine_and_where_it_comes_from():
    files = shipped_student("spine")
    assert files.config.observations == tuple(each.id for each in SPINE.observations)
    assert len(files.weights) < 3_000_000
    assert "train-student" in files.config.provenance["command"]
    again = StudentConfig.from_json(files.config.to_json().encode(), "copy")
    assert again == files.config


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"model_type": "bert"}'])
def test_another_configuration_is_refused(content):
    with pytest.raises(InvalidStudent):
        StudentConfig.from_json(content, "config.json")


def test_a_schema_without_a_student_says_what_to_do():
    with pytest.raises(InvalidStudent, match="distill"):
        StudentLabeler(setup_of(shipped_schema("neuro")))


def test_importing_the_labeler_loads_no_torch():
    code = "import sys, labeling.student.labeler; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_a_student_reads_no_language_that_it_did_not_learn():
    labeler = StudentLabeler.__new__(StudentLabeler)
    labeler._setup = setup_of(SPINE)
    labeler._files = shipped_student("spine")
    assert labeler._files.config.languages == ("en",)
    assert not isinstance(labeler._readable("No disc herniation is seen."), str)
    german = replace(labeler._files.config, languages=("de",))
    labeler._files = replace(labeler._files, config=german)
    assert labeler._readable("No disc herniation is seen.") == (
        "language: the student did not learn from reports in English"
    )
    assert StudentConfig.from_json(german.to_json().encode(), "x").languages == ("de",)
