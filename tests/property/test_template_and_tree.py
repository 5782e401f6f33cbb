"""Whatever a model writes or answers, the labelers by form and by tree keep to the contract."""

import json
import math

from hypothesis import given, settings
from hypothesis import strategies as st

from labeling.decision import decide
from labeling.labeler import checked
from labeling.schema_file import narrowed, shipped_schema
from labeling.template.labeler import TemplateLabeler
from labeling.template.odds import odds_at
from labeling.thresholds import UNCALIBRATED
from labeling.tree.labeler import TreeLabeler
from labeling.tree.questions import NODES, due, margin_of, mention_margin_of, normal, state_of
from labeling.vocabulary import State
from tests.fake_language_model import Answer, FakeLanguageModel, Step, Text
from tests.labeling_builders import setup_of

SCHEMA = narrowed(shipped_schema("spine"), ["stenosis", "disc_bulging"])
REPORT = "FINDINGS: Mild stenosis at L4-L5 on the left.\r\nNo bulging 🙂. Normal cord.\r\n"
FEW = settings(max_examples=25, deadline=None)

scalars = st.none() | st.booleans() | st.integers(-2, 5) | st.sampled_from(
    ["uncertain", "not_mentioned", "mild", "left", "L4-L5", ""]
)  # fmt: skip
keys = st.sampled_from(
    ["stenosis", "disc_bulging", "sentences", "state", "levels", "severity", "where", "L4-L5"]
)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner), max_leaves=30
)
scores = st.floats(-60, 0, allow_nan=False)


@FEW
@given(st.one_of(st.text(), values.map(json.dumps)), st.integers(0, 200))
def test_whatever_is_written_gives_one_checked_result_a_label(text, length):
    model = FakeLanguageModel(texts=[Text("", "", text[:length])])
    results = next(iter(TemplateLabeler(setup_of(SCHEMA), model).label_reports([REPORT])))
    for each in decide(checked(results, SCHEMA, REPORT), SCHEMA, UNCALIBRATED):
        assert each.evidence or each.state is not State.PRESENT
    for each in results:
        assert each.evidence or each.state is not State.ABSENT
        assert each.margin is None or math.isfinite(each.margin)


@FEW
@given(st.randoms(use_true_random=False))
def test_whatever_is_answered_gives_one_checked_result_a_label(random):
    def answer(report, asked, choices):
        return tuple(random.uniform(-30, 0) for _ in choices)

    model = FakeLanguageModel(answers=[Answer("", "", answer)])
    results = next(iter(TreeLabeler(setup_of(SCHEMA), model).label_reports([REPORT])))
    for each in decide(checked(results, SCHEMA, REPORT), SCHEMA, UNCALIBRATED):
        assert each.evidence or each.state is not State.PRESENT
    for each in results:
        assert each.margin is not None
        assert math.isfinite(each.margin)
    assert len(model.scored) < 60


@FEW
@given(st.dictionaries(st.sampled_from(sorted(NODES)), st.lists(scores, min_size=10, max_size=10)))
def test_a_settled_tree_has_a_state_and_a_finite_margin(given_scores):
    answers = {}
    while wanted := due(answers, 0.02):
        for name in wanted:
            width = len(NODES[name].to)
            answers[name] = normal(tuple(given_scores.get(name, [0.0, *[-1.0] * 9])[:width]))
    assert state_of(answers) is not State.FAILED
    assert math.isfinite(margin_of(answers))
    mention = mention_margin_of(answers)
    assert mention is None or (mention > 0) == (state_of(answers) is State.ABSENT) or mention == 0


@FEW
@given(st.lists(st.tuples(st.sampled_from(["tr", "ue", "true", "fal", "se", '"', "un", "x"]),
                          st.dictionaries(st.sampled_from(["tr", "true", "fal", '"', "un", "x"]),
                                          scores, max_size=4)), max_size=4))  # fmt: skip
def test_odds_are_a_distribution_or_nothing(tokens):
    steps = [Step(text, alternatives) for text, alternatives in tokens]
    answers = {"present": ("true",), "absent": ("false",), "uncertain": ('"uncertain"',)}
    odds = odds_at(steps, 0, answers)
    if odds is not None:
        assert set(odds.of) == set(answers)
        assert math.isclose(sum(map(math.exp, odds.of.values())), 1.0, abs_tol=1e-9)
