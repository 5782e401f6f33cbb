"""Versions, stages and their table, and the one live model of a name."""

import itertools

import pytest
from sqlmodel import select

from tests.cohort_builders import add_training_run, blank_session, clock
from training.errors import Permanent
from training.models import ModelEvent, TrainingRun
from training.registry import (
    TRANSITIONS,
    Stage,
    find,
    live_model,
    models,
    promote,
    register,
    retire,
    stage_of,
)

POINTS = {"narrowing": 0.4, "fracture": None}
METRICS = {"test": {"observations": {"narrowing": {"auroc": {"value": 0.9}}}}}


@pytest.fixture
def session():
    with blank_session() as session:
        yield session


@pytest.fixture
def training_run(session):
    return add_training_run(session, METRICS)


@pytest.fixture
def uids():
    return (f"2.25.{number}" for number in itertools.count(1))


@pytest.fixture
def add(session, training_run, uids):
    def add(letter="a", name="spine", points=POINTS):
        return register(
            session,
            weights_digest=letter * 64,
            name=name,
            training_run=training_run,
            operating_points=points,
            uid_source=lambda: next(uids),
            decided_by="radloop",
            clock=clock,
        )

    return add


def decide(session, name, action=promote, reason="better", by="Dr Who"):
    return action(session, name, decided_by=by, reason=reason, clock=clock)


def test_versions_count_up_by_name_and_devices_differ(add):
    found = [add("a"), add("b"), add("c", name="other")]
    assert [each.version for each in found] == [1, 2, 1]
    assert len({each.device_uid for each in found}) == 3
    assert {each.schema_name for each in found} == {"spine"}
    assert found[0].operating_points == POINTS


def test_the_same_weights_are_one_model(session, add):
    first = add("a")
    assert add("a") is first
    assert len(session.exec(select(ModelEvent)).all()) == 1


@pytest.mark.parametrize("change", [{"name": "other"}, {"points": {"narrowing": 0.5}}])
def test_the_same_weights_are_not_registered_otherwise(add, change):
    add("a")
    with pytest.raises(Permanent, match="spine:1"):
        add("a", **change)


@pytest.mark.parametrize(
    "change",
    [
        {"letter": "G"},
        {"letter": "ab"},
        {"name": "../x"},
        {"name": "a:1"},
        {"name": ""},
        {"points": {"narrowing": 1.5}},
        {"points": {"narrowing": float("nan")}},
    ],
)
def test_malformed_values_are_refused(add, change):
    with pytest.raises(Permanent):
        add(**change)


def test_a_training_run_must_be_stored(session, training_run, add):
    unstored = TrainingRun(**{**training_run.model_dump(), "id": None})
    with pytest.raises(Permanent, match="store the training run"):
        register(
            session,
            weights_digest="a" * 64,
            name="spine",
            training_run=unstored,
            operating_points={},
            uid_source=lambda: "2.25.1",
            decided_by="radloop",
            clock=clock,
        )


def test_a_model_starts_as_a_candidate_and_is_not_live(session, add):
    assert stage_of(session, add()) is Stage.CANDIDATE
    assert live_model(session, "spine") is None


def test_promotion_retires_the_earlier_live_model_of_the_name_only(session, add):
    first, second, other = add("a"), add("b"), add("c", name="other")
    decide(session, "spine:1")
    decide(session, "other")
    assert live_model(session, "spine") is first
    decide(session, "spine")
    assert live_model(session, "spine") is second
    assert live_model(session, "other") is other
    assert stage_of(session, first) is Stage.RETIRED
    [event] = session.exec(
        select(ModelEvent).where(ModelEvent.model_id == first.id, ModelEvent.stage == "retired")
    )
    assert event.decided_by == "Dr Who"
    assert event.reason == "replaced by version 2: better"


def test_an_earlier_version_can_come_back(session, add):
    first, second = add("a"), add("b")
    decide(session, "spine:1")
    decide(session, "spine:2")
    decide(session, "spine:1", reason="version 2 drifts")
    assert live_model(session, "spine") is first
    assert stage_of(session, second) is Stage.RETIRED


def test_repeated_decisions_add_no_event(session, add):
    add()
    for action in (promote, promote, retire, retire):
        decide(session, "spine", action)
    events = session.exec(select(ModelEvent.stage).order_by(ModelEvent.id)).all()
    assert events == ["candidate", "live", "retired"]
    assert live_model(session, "spine") is None


@pytest.mark.parametrize("change", [{"reason": " "}, {"by": ""}])
def test_a_decision_without_reason_or_person_changes_nothing(session, add, change):
    first = add("a")
    add("b")
    decide(session, "spine:1")
    with pytest.raises(Permanent, match="who decided and why"):
        decide(session, "spine:2", **change)
    assert live_model(session, "spine") is first


@pytest.mark.parametrize("name", ["nobody", "spine:2", "spine:0", "spine:x", "", "../x"])
def test_an_unknown_model_is_named_in_the_error(session, add, name):
    add()
    with pytest.raises(Permanent, match="model"):
        find(session, name)


def test_every_stage_has_its_row_in_the_table():
    assert TRANSITIONS.keys() == set(Stage)
    assert all(stage not in after for stage, after in TRANSITIONS.items())
    assert Stage.CANDIDATE not in set().union(*TRANSITIONS.values())


def test_the_listing_shows_stage_reason_and_headline(session, add):
    add("a")
    add("b")
    decide(session, "spine:1")
    newest, oldest = models(session)
    assert (newest.reference, newest.stage) == ("spine:2", Stage.CANDIDATE)
    assert (oldest.reference, oldest.stage, oldest.decided_by) == ("spine:1", Stage.LIVE, "Dr Who")
    assert oldest.auroc == {"narrowing": 0.9}
    assert len(oldest.cohort_digest) == 64


def test_a_training_without_metrics_has_no_headline(session, add, training_run):
    training_run.metrics = {}
    add()
    assert models(session)[0].auroc == {}
