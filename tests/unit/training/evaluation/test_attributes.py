"""Attributes of studies, and models that speak of whole studies."""

from dataclasses import replace

import pytest
from sqlmodel import select

from dicom_node.models import Series, Study
from labeling.vocabulary import WHOLE
from tests.cohort_builders import add_series, add_study, blank_session
from training.errors import Permanent
from training.evaluation.attributes import Attributes, age_band, attributes_of
from training.evaluation.figures import figures_of
from training.evaluation.plan import REFERENCE, UNSAMPLED_REFERENCE, Plan, PlannedModel
from training.evaluation.splits import SEVERAL, Split
from training.evaluation.test_set import Item
from training.selection import SeriesRule
from training.series import analysed_images


@pytest.mark.parametrize(
    ("born", "seen", "band"),
    [
        ("20000615", "20180614", "0-17"),
        ("20000615", "20180615", "18-39"),
        ("19500101", "20250101", "75 and over"),
        ("19500101", "20241231", "60-74"),
        ("", "20241231", "unknown"),
        ("19500101", "2024123\u00b2", "unknown"),
        ("\u0661\u0669\u0665\u06600101", "20250101", "unknown"),
        ("1950", "20241231", "unknown"),
        ("20250101", "20241231", "unknown"),
        ("17000101", "20241231", "unknown"),
    ],
)
def test_age_bands(born, seen, band):
    assert age_band(born, seen) == band


def test_what_the_index_knows_and_what_it_does_not():
    with blank_session() as session:
        add_study(session, "1.1", "P1")
        add_study(session, "1.2", "P2")
        add_series(session, "1.2", description="T2 axial")
        session.get(Study, "1.1").patient_sex = "f "
        rows = session.exec(select(Series).order_by(Series.series_instance_uid)).all()
        for number, series in enumerate(rows):
            series.manufacturer, series.manufacturer_model_name = "Maker", "One"
            series.institution_name = f"Site  {number % 2}"
        session.flush()
        shown = analysed_images(session, ["1.1", "1.2"], SeriesRule("MR"))
        found = attributes_of(session, shown)
    first = found["1.1"]
    assert (first.scanner, first.sex, first.age) == ("Maker One", "F", "unknown")
    assert first.site in ("Site 0", "Site 1")
    assert found["1.2"].site == SEVERAL
    assert found["1.2"].sex == "unknown"


def planned(*names):
    models = tuple(PlannedModel(name, "0" * 64, {"x": 0.5}) for name in names)
    return Plan("c", "s", "t", 3, 3, models, ("x",), ("x", "auroc"), samples=100)


def test_a_model_of_whole_studies_is_judged_by_whole_studies():
    items = [
        Item("1", "p1", "", "", {"x": {"a": 0.0, "b": 1.0}}),
        Item("2", "p2", "", "", {"x": {"a": 0.0, "b": 0.0}}),
        Item("3", "p3", "", "", {"x": {"a": 0.0, "b": None}}),
    ]
    whole = {each.study_instance_uid: {("x", WHOLE): 0.9} for each in items}
    found = figures_of(planned("m:1"), items, {"m:1": whole}, {"1": Attributes(sex="F")})
    assert (found["models"][0]["observations"]["x"]["n"], found["primary"]["positives"]) == (2, 1)
    assert found["primary"]["value"] == 0.5
    sites = {each.study_instance_uid: {("x", "a"): 0.9} for each in items}
    with pytest.raises(Permanent, match="whole studies"):
        figures_of(planned("m:1", "n:1"), items, {"m:1": whole, "n:1": sites}, {})


def test_figures_are_called_by_the_labels_of_the_test_set_and_not_by_those_of_the_cohort():
    items = [
        Item("1", "p1", "", "", {"x": {"a": 1.0}}),
        Item("2", "p2", "", "", {"x": {"a": 0.0}}),
    ]
    said = {"m:1": {each.study_instance_uid: {("x", "a"): 0.9} for each in items}}
    plan = replace(planned("m:1"), accepted=("unsampled",))
    assert figures_of(plan, items, said, {})["called"] == REFERENCE
    lacking = [items[0], replace(items[1], lacks=True)]
    assert figures_of(plan, lacking, said, {})["called"] == UNSAMPLED_REFERENCE


def test_a_split_that_says_nothing_is_refused():
    for kind, value in (("temporal", "2024"), ("site", " "), ("site", "unknown")):
        with pytest.raises(Permanent):
            Split(kind, value)
