"""A small node: a plan is frozen, its test set opened and counted, or refused; the audit."""

import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlmodel import Session, col, select
from typer.testing import CliRunner

from dicom_node.linking.models import PatientEvent
from dicom_node.models import Series, Study
from labeling.models import LabelingRun, SampledSubject
from plugin.cli import app
from plugin.context import Context, open_context
from plugin.errors import Permanent
from plugin.questions import ask
from plugin.settings import load_settings
from plugin.stages.audit import audit_labels
from plugin.stages.cohort import SHORTCOMINGS, freeze_cohort, newest_cohort
from plugin.stages.complete import complete_study
from plugin.stages.erase import erase_patient
from plugin.stages.evaluation import list_plans, run_plan, show_plan
from plugin.stages.evaluation_plan import freeze_plan
from plugin.stages.opt_out import opt_out
from plugin.stages.predict_members import predict_members
from tests.cohort_builders import (
    NOW,
    add_labels,
    add_reference,
    add_report,
    add_study,
    node_with_a_run,
)
from training.cohort import members_of
from training.errors import Permanent as TrainingPermanent
from training.evaluation.models import EvaluationMember, EvaluationPlan, Opening
from training.models import Cohort, CohortMember, Model, TrainingRun
from training.registry import register

SITES = ("L4-L5", "L5-S1")
TESTED = [f"1.2.{number}" for number in range(1, 25)]
TRAINED = [f"1.3.{number}" for number in range(1, 4)]
ASKED: dict[str, Any] = {
    "cohort": "spine",
    "models": ["good"],
    "observations": ["stenosis"],
    "primary": "",
    "subgroups": [],
    "samples": 100,
    "seed": 1,
}


def truth(number: int, site: str) -> str:
    return "present" if (number + SITES.index(site)) % 3 == 0 else "absent"


def mute(_: str) -> None:
    """Progress is of no interest here."""


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Fill a node once: each test gets a copy of its folder."""
    folder = tmp_path_factory.mktemp("filled")
    with node_with_a_run(folder) as context:
        with context.database.write() as session:
            run = session.exec(select(LabelingRun)).one()
            for number, uid in enumerate([*TESTED, *TRAINED]):
                _study(session, run, number, uid)
        for uid in (*TESTED, *TRAINED):
            complete_study(context, uid, by="test", reason="a test")
        freeze_cohort(context, "spine", "rules", SHORTCOMINGS[:2])
        with context.database.write() as session:
            _model(session, "good", "1")
            _model(session, "other", "2")
    return folder


@pytest.fixture
def context(filled: Path, tmp_path: Path) -> Iterator[Context]:
    shutil.copytree(filled, tmp_path, dirs_exist_ok=True)
    with open_context(load_settings(tmp_path / "radloop.toml")) as context:
        yield context


def _study(session: Session, run: LabelingRun, number: int, uid: str) -> None:
    add_study(session, uid, f"P{number}")
    study = session.get_one(Study, uid)
    study.patient_name, study.patient_sex = f"NAME^{number}", "FM"[number % 2]
    study.patient_birth_date, study.study_date = f"19{40 + number}0101", "20250601"
    series = session.exec(select(Series).where(Series.study_instance_uid == uid)).one()
    series.manufacturer, series.institution_name = "Maker", "North" if number < 12 else ""
    session.add_all([study, series])
    # The report of every fifth study does not say what its images show.
    said = number + 1 if uid in TESTED and number % 5 == 0 else number
    report = add_report(session, uid)
    states = {("stenosis", site): truth(said, site) for site in SITES}
    add_labels(session, run, report, states)
    if uid in TESTED:
        shown = {("stenosis", site): truth(number, site) for site in SITES}
        add_reference(session, uid, shown)


def _model(session: Session, name: str, digit: str) -> None:
    cohort = newest_cohort(session, "spine")
    training = TrainingRun(
        cohort_id=cohort.id or 0,
        classifier="c",
        seed=1,
        code_version="t",
        metrics={"test": {"observations": {}}, "by": digit},
        started_at=NOW,
        finished_at=NOW,
    )
    session.add(training)
    session.flush()
    register(
        session,
        weights_digest=digit * 64,
        name=name,
        training_run=training,
        operating_points={"stenosis": 0.5},
        uid_source=lambda: f"2.25.{digit}",
        decided_by="test",
        clock=lambda: NOW,
    )


def predict(
    _context: Context, _cohort: Cohort, model: Model, studies: Sequence[str], _progress: Any
) -> dict[str, dict[tuple[str, str], float | None]]:
    """Say what a model of known quality would: one of them guesses."""
    chance = np.random.default_rng(4)
    found: dict[str, dict[tuple[str, str], float | None]] = {}
    for uid in studies:
        number = TESTED.index(uid)
        right = {site: 0.25 + 0.5 * (truth(number, site) == "present") for site in SITES}
        noise = chance.uniform(-0.24, 0.24, 2) if model.name == "good" else chance.uniform(size=2)
        found[uid] = {
            ("stenosis", site): float(each + right[site] if model.name == "good" else each)
            for site, each in zip(SITES, noise, strict=True)
        }
    found[studies[0]]["stenosis", "L4-L5"] = None
    return found


def frozen(context: Context, name: str = "first", **changed: Any) -> dict[str, Any]:
    return freeze_plan(context, name, {**ASKED, **changed}, "ada")


def run(context: Context, name: str = "first") -> dict[str, Any]:
    return run_plan(context, name, "grace", mute, predict)


def test_a_plan_fixes_everything_and_opens_nothing(context: Context) -> None:
    plan = frozen(context)
    assert (plan["studies"], plan["patients"]) == (len(TESTED), len(TESTED))
    assert (plan["primary"], plan["openings_of_its_studies"]) == ("stenosis auroc", 0)
    assert frozen(context)["digest"] == plan["digest"]
    with pytest.raises(Permanent, match="another plan"):
        frozen(context, seed=2)
    with context.database.read() as session:
        shown = show_plan(session, context.settings, plan["digest"][:12])
        assert session.exec(select(Opening)).first() is None
    content = shown["content"]
    assert content["models"][0]["operating_points"] == {"stenosis": 0.5}
    assert (content["seed"], content["samples"]) == (1, 100)
    assert (shown["openings"], shown["figures"], shown["test_set_now"]) == ([], {}, [])


def test_what_cannot_be_planned(context: Context) -> None:
    for changed, message in (
        ({"primary": "stenosis:accuracy"}, "a primary figure is one of"),
        ({"primary": "herniation:auroc"}, "of no planned observation"),
        ({"observations": ["unheard"]}, "no observation unheard"),
        ({"observations": ["herniation"]}, "did not learn the primary observation"),
        ({"models": ["good", "good:1"]}, "not compared with itself"),
        ({"models": ["absent"]}, "no model"),
        ({"subgroups": ["weather"]}, "subgroups are among"),
        ({"subgroups": ["sex", "sex"]}, "a subgroup stands twice"),
        (
            {"observations": ["stenosis", "stenosis"], "primary": "stenosis:auroc"},
            "an observation stands twice",
        ),
        ({"samples": 10**23}, "a plan has 100 to 100000 bootstrap samples"),
    ):
        with pytest.raises((Permanent, TrainingPermanent), match=message):
            frozen(context, **changed)


@pytest.mark.parametrize("name", ["", " ", "na\nme", "\x1b[31mred", " first", "n" * 65])
def test_a_plan_has_a_name_that_people_see_whole(context: Context, name: str) -> None:
    with pytest.raises(Permanent, match="printable characters"):
        frozen(context, name)


def test_a_plan_is_not_named_like_the_digest_of_another(context: Context) -> None:
    digest = frozen(context)["digest"]
    with pytest.raises(Permanent, match="look like a digest"):
        frozen(context, digest[:12], samples=101)


def test_opening_gives_the_planned_figures_and_is_counted(context: Context) -> None:
    frozen(context, models=["good", "other"])
    found = run(context)
    figures = found["figures"]
    good, other = figures["models"]
    assert good["observations"]["stenosis"]["auroc"]["value"] == 1.0
    assert good["observations"]["stenosis"]["n"] == 2 * len(TESTED) - 1
    assert good["observations"]["stenosis"]["not_evaluated"] == 1
    assert other["observations"]["stenosis"]["auroc"]["value"] < 0.8
    assert figures["primary"]["of"] == "difference of good:1 - other:1"
    assert figures["primary"]["low"] > 0
    assert figures["comparison"]["observations"]["stenosis"]["p_delong"] < 0.01
    assert 0 < good["calibration"]["stenosis"]["brier"]["value"] < 0.2
    groups = {(each["attribute"], each["group"]): each for each in good["subgroups"]}
    assert groups["sex", "F"]["patients"] == 12
    assert groups["scanner", "Maker"]["n"] == 2 * len(TESTED) - 1
    assert groups["site", "North"]["patients"] == groups["site", "unknown"]["patients"] == 12
    assert "too few" in groups["site", "unknown"]["note"]
    text = json.dumps(found, allow_nan=False)
    assert not any(f'"{uid}"' in text for uid in TESTED)
    # Both trainings computed figures on the test fold: it was looked at before the plan was made.
    assert found["looks"]["trainings"] == 2
    assert found["openings"][0]["by"] == "grace"
    assert run(context)["looks"]["number"] == 2


def test_figures_of_an_unequal_sample_are_called_those_of_its_mixture(context: Context) -> None:
    with context.database.write() as session:
        drawn = session.exec(select(SampledSubject).order_by(col(SampledSubject.id))).first()
        assert drawn is not None
        drawn.probability = 0.5
        session.add(drawn)
    frozen(context)
    assert "of the mixture that was drawn" in run(context)["figures"]["called"]


def test_what_is_computed_is_told_meanwhile(context: Context) -> None:
    frozen(context, models=["good", "other"])
    lines: list[str] = []
    run_plan(context, "first", "grace", lines.append, predict)
    opened = lines.index("the test set is open: computing what was planned")
    assert "good:1: calibration" in lines[opened:]
    assert lines[-1] == "the difference of the models"


def test_figures_under_a_second_plan_and_looks_since_say_so(context: Context) -> None:
    frozen(context)
    run(context)
    frozen(context, "second", seed=7)
    second = run(context, "second")
    assert "other plans (first)" in second["looks"]["sentence"]
    with context.database.read() as session:
        first = show_plan(session, context.settings, "first")
        rows = list_plans(session)["plans"]
    assert "1 more time since" in first["looks"]["sentence"]
    assert [(each["openings"], each["openings_of_its_studies"]) for each in rows] == [(1, 2)] * 2


def test_a_changed_test_set_is_refused_and_told(context: Context) -> None:
    frozen(context)
    with context.database.write() as session:
        # A second reader of the same sample disagrees at one site.
        shown = {("stenosis", "L4-L5"): "absent", ("stenosis", "L5-S1"): "absent"}
        add_reference(session, TESTED[0], shown, reader="reader 2")
    opt_out(context, issuer="SITE", patient_id="P1", by="t", reason="t", revoke=False)
    with pytest.raises(Permanent, match=r"1: other reference labels.*1: its patient has opted out"):
        run(context)
    with pytest.raises(Permanent, match="is not what was frozen"):
        frozen(context, "second")
    with context.database.read() as session:
        now = show_plan(session, context.settings, "first")["test_set_now"]
        assert session.exec(select(Opening)).first() is None
    assert {each["study_instance_uid"] for each in now} == {TESTED[0], TESTED[1]}


def test_an_erased_patient_leaves_the_plan_and_is_counted(context: Context) -> None:
    frozen(context)
    erase_patient(context, issuer="SITE", patient_id="P2", by="t", reason="t", dry_run=False)
    with context.database.read() as session:
        rows = session.exec(select(EvaluationMember.study_instance_uid)).all()
        now = show_plan(session, context.settings, "first")["test_set_now"]
    assert len(rows) == len(TESTED) - 1
    assert {"study_instance_uid": "", "what": "erased"} in now
    with pytest.raises(Permanent, match="1: erased"):
        run(context)


def test_a_model_that_learned_from_the_test_set_is_refused(context: Context) -> None:
    with context.database.write() as session:
        cohort = newest_cohort(session, "spine")
        for member in members_of(session, cohort):
            if member.study_instance_uid == TRAINED[0]:
                member.fold = "test"
                session.add(member)
        known = {each.study_instance_uid for each in members_of(session, cohort)}
    assert known == {*TESTED, *TRAINED}
    # Its training cohort says so no more, but another cohort's test fold may hold its patients.
    with context.database.write() as session:
        copy = Cohort(**{**cohort.model_dump(exclude={"id"}), "digest": "9" * 64, "name": "late"})
        session.add(copy)
        session.flush()
        for member in members_of(session, cohort):
            values = member.model_dump(exclude={"id", "cohort_id"})
            fold = "train" if member.study_instance_uid in TESTED[:3] else "test"
            session.add(type(member)(**{**values, "cohort_id": copy.id, "fold": fold}))
        training = session.exec(select(TrainingRun)).first()
        assert training is not None
        training.cohort_id = copy.id or 0
        session.add(training)
        for member in members_of(session, cohort):
            if member.study_instance_uid == TRAINED[0]:
                member.fold = "train"
                session.add(member)
    with pytest.raises(Permanent, match="learned from 3 patients"):
        frozen(context)
    # What a training began with learned from them: so did the training.
    frozen(context, models=["other"])
    with context.database.write() as session:
        (_, other) = session.exec(select(TrainingRun).order_by(col(TrainingRun.id))).all()
        other.metrics = {**other.metrics, "architecture": {"weights_digest": "1" * 64}}
        session.add(other)
    with pytest.raises(Permanent, match="other:1 learned from 3 patients"):
        frozen(context, "second", models=["other"])
    with pytest.raises(Permanent, match="learned from 3 patients"):
        run(context)


def only_tests(context: Context, split: dict[str, str]) -> None:
    """Freeze the test fold again as a cohort of its own, so that models learned elsewhere."""
    with context.database.write() as session:
        cohort = newest_cohort(session, "spine")
        values = cohort.model_dump(exclude={"id"})
        copy = Cohort(
            **{
                **values,
                "digest": "8" * 64,
                "name": "alone",
                "query": {**cohort.query, "split": split},
            }
        )
        session.add(copy)
        session.flush()
        for member in members_of(session, cohort):
            if member.fold == "test":
                own = member.model_dump(exclude={"id", "cohort_id"})
                session.add(CohortMember(**own, cohort_id=copy.id or 0))


def merge(context: Context, prior: str, surviving: str) -> None:
    with context.database.write() as session:
        session.add(
            PatientEvent(
                action="merge", event_time="20260101000000000000", prior_issuer="SITE",
                prior_patient_id=prior, issuer="SITE", patient_id=surviving, recorded_at=NOW,
            )
        )  # fmt: skip


def test_a_merge_after_freezing_makes_a_training_patient_known(context: Context) -> None:
    """P24 trained as another identity of P0, who is tested: frozen keys differ."""
    only_tests(context, {})
    frozen(context, cohort="alone")
    merge(context, "P24", "P0")
    with pytest.raises(Permanent, match="learned from 1 patients of this test set"):
        run(context)
    with pytest.raises(Permanent, match="learned from 1 patients"):
        frozen(context, "second", cohort="alone")
    with context.database.read() as session:
        assert session.exec(select(Opening)).first() is None


def test_a_merge_while_the_models_predict_is_noticed(context: Context) -> None:
    only_tests(context, {})
    frozen(context, cohort="alone")

    def merging(*asked: Any) -> Any:
        merge(context, "P1", "P25")
        return predict(*asked)

    with pytest.raises(Permanent, match="learned from 1 patients"):
        run_plan(context, "first", "grace", mute, merging)
    with context.database.read() as session:
        assert session.exec(select(Opening)).first() is None


@pytest.mark.parametrize(
    ("split", "said"),
    [
        ({"temporal": "20250601"}, "3 studies on the test side"),
        ({"site": "North"}, "0 studies on the test side .* from 3 of which nobody"),
        ({"temporal": "20250602"}, ""),
    ],
)
def test_a_model_is_not_tested_on_a_split_whose_test_side_it_knows(
    context: Context, split: dict[str, str], said: str
) -> None:
    only_tests(context, split)
    if not said:
        assert frozen(context, cohort="alone")["studies"] == len(TESTED)
        return
    with pytest.raises(Permanent, match=said):
        frozen(context, cohort="alone")


def test_a_plan_that_was_altered_in_the_database_is_neither_run_nor_shown(
    context: Context,
) -> None:
    frozen(context)
    run(context)
    with context.database.read() as session:
        (opening,) = session.exec(select(Opening)).all()
        row = session.exec(select(EvaluationPlan)).one()
        member = session.exec(select(EvaluationMember)).first()
        assert opening.test_set_digest == row.content["test_set"]
    assert member is not None
    for thing, column, altered in (
        (row, "content", {**row.content, "seed": 99}),
        (row, "content", {**row.content, "models": []}),
        (member, "labels_sha256", "0" * 64),
    ):
        kept = getattr(thing, column)
        _set(context, thing, column, altered)
        with pytest.raises(TrainingPermanent, match="was altered in the database"):
            run(context)
        with (
            context.database.read() as session,
            pytest.raises(TrainingPermanent, match="was altered in the database"),
        ):
            show_plan(session, context.settings, "first")
        _set(context, thing, column, kept)
    assert run(context)["looks"]["number"] == 2


def _set(context: Context, thing: Any, column: str, value: Any) -> None:
    with context.database.write() as session:
        row = session.get_one(type(thing), thing.id)
        setattr(row, column, value)
        session.add(row)


def test_the_same_plan_under_another_name_says_that_it_is_that_plan(context: Context) -> None:
    assert "note" not in frozen(context)
    again = frozen(context, "another name")
    assert again["plan"] == "first"
    assert again["note"].endswith("by ada, as 'first'; there is no plan 'another name'")
    assert frozen(context)["note"].endswith("by ada, as 'first'")


def test_predictions_need_the_series_that_was_chosen(context: Context) -> None:
    with context.database.read() as session:
        cohort = newest_cohort(session, "spine")
        model = session.exec(select(Model).where(Model.name == "good")).one()
    with pytest.raises(Permanent, match="1 studies have lost"):
        predict_members(context, cohort, model, ["1.9.9"], mute)


def test_the_audit_counts_and_lists_where_reports_and_images_differ(context: Context) -> None:
    with context.database.read() as session:
        found = audit_labels(session, context.settings, "rules", samples=100, limit=3)
    (row,) = found["conditions"]
    places = [(n, site) for n in range(len(TESTED)) for site in SITES]
    pairs = [(truth(n + (n % 5 == 0), site), truth(n, site)) for n, site in places]
    both = pairs.count(("present", "present"))
    assert (row["condition"], row["n"]) == ("stenosis at its sites", len(pairs))
    assert (row["both"], row["report_only"]) == (both, pairs.count(("present", "absent")))
    assert row["image_only"] == pairs.count(("absent", "present")) > 0
    assert row["sensitivity"] == pytest.approx(both / (both + row["image_only"]))
    assert row["sensitivity_low"] < row["sensitivity"] < row["sensitivity_high"]
    from sklearn.metrics import cohen_kappa_score

    assert row["kappa"] == pytest.approx(cohen_kappa_score(*zip(*pairs, strict=True)))
    assert found["differences"] == row["report_only"] + row["image_only"]
    assert len(found["studies"]) == 3
    assert found["studies"][0]["report"] != found["studies"][0]["image"]
    assert "NAME" not in json.dumps(found)


def test_the_commands(context: Context, tmp_path: Path) -> None:
    config = ["--config", str(tmp_path / "radloop.toml")]
    call = CliRunner().invoke

    def told(*words: str) -> str:
        result = call(app, ["evaluation", *words, *config])
        assert result.exit_code == 0, result.output
        return result.output

    options = ["--model", "good", "--primary", "stenosis:auroc", "--samples", "100", "--by", "ada"]
    assert "stenosis auroc" in told("plan", "first", "--cohort", "spine", *options)
    for wrong, said in (
        (["--primary", "stenosis:auroc", "--primary", "stenosis:brier"], "one primary figure"),
        (["--primary", "stenosis:auroc", "--by", ""], "printable characters"),
    ):
        plan = ["evaluation", "plan", "x", "--cohort", "spine", "--model", "good", *wrong]
        refused = call(app, [*plan, *config])
        assert (refused.exit_code, said in refused.output) == (2, True)
    run(context)
    assert "grace" in told("show", "first")
    assert json.loads(told("list", "--json"))["plans"][0]["openings"] == 1
    shown = json.loads(told("show", "first", "--opening", "1", "--json"))
    assert shown["figures"]["primary"]["value"] == 1.0
    assert "kappa" in told("audit", "--limit", "2")


def test_figures_of_few_patients_that_were_stored_earlier_are_not_shown(
    context: Context, tmp_path: Path
) -> None:
    frozen(context, subgroups=["sex"])
    run(context)
    with context.database.write() as session:
        opening = session.exec(select(Opening)).one()
        figures = json.loads(json.dumps(opening.figures))
        figures["models"][0]["subgroups"][0] |= {"patients": 1, "n": 2}
        opening.figures = figures
        session.add(opening)
    with context.database.read() as session:
        (shown,) = show_plan(session, context.settings, "first")["figures"]["models"]
    ask(context.settings, "model card", {"model": "good", "folder": str(tmp_path / "card")})
    card = json.loads((tmp_path / "card" / "card.json").read_bytes())
    for row in (shown["subgroups"][0], card["evaluations"][0]["subgroups"][0]):
        assert (row["patients"], row["n"], row["sensitivity"]["value"]) == (None, None, None)
        assert "fewer than 10 patients" in row["note"]


def test_a_card_shows_what_a_planned_evaluation_found(context: Context, tmp_path: Path) -> None:
    frozen(context, "spring", subgroups=["sex"])
    frozen(context, "autumn", samples=101)
    opened = run(context, "spring")
    to = tmp_path / "card"
    ask(context.settings, "model card", {"model": "good", "folder": str(to)})
    card = json.loads((to / "card.json").read_bytes())
    spring, autumn = card["evaluations"]
    (own,) = opened["figures"]["models"]
    (row,) = spring["observations"]
    assert row["auroc"] == own["observations"]["stenosis"]["auroc"]
    assert row["slope"] == own["calibration"]["stenosis"]["slope"]
    assert spring["looks"] == opened["looks"]["sentence"]
    assert {each["group"] for each in spring["subgroups"]} == {"F", "M"}
    assert (autumn["openings"], autumn["observations"]) == (0, [])
    text = (to / "card.md").read_text(encoding="utf-8")
    assert "There are no figures under this plan" in text
    assert autumn["planned_primary"] == "auroc of stenosis"
    assert "not evaluated" in text.split("## Planned evaluations")[1]
    assert row["not_evaluated"] == 1
    assert f"{row['auroc']['value']:.3f} (" in text.split("## Planned evaluations")[1]
    items = {
        (each["name"], item["number"]): item["state"]
        for each in card["checklists"]
        for item in each["items"]
    }
    assert items["TRIPOD+AI (2024)", "18c"] == "in part"
    # A model that no plan names has none.
    ask(context.settings, "model card", {"model": "other", "folder": str(tmp_path / "other")})
    other = json.loads((tmp_path / "other" / "card.json").read_bytes())
    assert other["evaluations"] == []


def card_of(context: Context, folder: Path) -> dict[str, Any]:
    ask(context.settings, "model card", {"model": "good", "folder": str(folder)})
    found: dict[str, Any] = json.loads((folder / "card.json").read_bytes())
    return found


def test_a_card_says_how_often_the_test_fold_was_looked_at(
    context: Context, tmp_path: Path
) -> None:
    """Two trainings with seeds of their own, and an opening: no first look, not one training."""
    with context.database.write() as session:
        (_, other) = session.exec(select(TrainingRun).order_by(col(TrainingRun.id))).all()
        other.seed = 2
        session.add(other)
    frozen(context)
    run(context)
    card = card_of(context, tmp_path / "card")
    assert "2 trainings computed figures on them" in card["results"]["fold"]
    limits = {each["limit"]: each["numbers"] for each in card["limits"]}
    assert not any("One training with one seed" in each for each in limits)
    (several,) = (each for each in limits if "trainings on this cohort" in each)
    assert limits[several] == {"trainings": 2, "seeds": [1, 2], "seed": 1}
    (looked,) = (each for each in limits if "looked at 3 times" in each)
    assert limits[looked] == {"trainings": 2, "openings": 1}
    with context.database.write() as session:
        # Of the other training nothing is left but that it ran, without figures.
        other = session.get_one(TrainingRun, other.id)
        other.metrics = {}
        session.add(other)
        session.delete(session.exec(select(Opening)).one())
    card = card_of(context, tmp_path / "card")
    limits = {each["limit"]: each["numbers"] for each in card["limits"]}
    assert "no other training computed figures on them" in card["results"]["fold"]
    assert any("One training with one seed (1)" in each for each in limits)
    assert not any("looked at" in each for each in limits)


def test_a_card_tells_external_sites_apart_and_names_none(context: Context, tmp_path: Path) -> None:
    frozen(context, subgroups=["site"])
    run(context)
    with context.database.write() as session:
        cohort = newest_cohort(session, "spine")
        cohort.query = {**cohort.query, "split": {"site": "NORTH"}}
        session.add(cohort)
        opening = session.exec(select(Opening)).one()
        text = json.dumps(opening.figures)
        opening.figures = json.loads(
            text.replace('"North"', '"Eastern"').replace('"unknown"', '"Western"')
        )
        session.add(opening)
    card = card_of(context, tmp_path / "card")
    groups = {each["group"] for each in card["evaluations"][0]["subgroups"]}
    assert groups == {"site 3 (not of the cohort)", "site 4 (not of the cohort)"}
    assert card["training_data"]["split"] == {"site": "site 2"}
    rows = {each["site"]: each["test"] for each in card["training_data"]["sites"]}
    assert rows["site 2"] == 12
    for name in ("card.json", "card.md"):
        text = (tmp_path / "card" / name).read_text(encoding="utf-8").casefold()
        assert not any(each in text for each in ("north", "eastern", "western"))
    assert "at site 2, which trained nothing" in text


def test_a_card_tells_nothing_of_a_plan_that_was_altered(context: Context, tmp_path: Path) -> None:
    frozen(context)
    run(context)
    with context.database.read() as session:
        row = session.exec(select(EvaluationPlan)).one()
    for altered in ({**row.content, "seed": 99}, {**row.content, "models": []}):
        _set(context, row, "content", altered)
        card = card_of(context, tmp_path / "card")
        (plan,) = card["evaluations"]
        assert (plan["altered"], plan["observations"], plan["primary"]) == (True, [], None)
        assert any("1 plans about this model were altered" in e["limit"] for e in card["limits"])
        text = (tmp_path / "card" / "card.md").read_text(encoding="utf-8")
        assert "altered in the database since it was frozen" in text
