"""Which version a rollback goes back to, and what it refuses."""

import itertools

import pytest

from tests.cohort_builders import add_training_run, blank_session, clock
from training.errors import Permanent
from training.registry import live_model, models_at_work, promote, register, retire, silence
from training.rollback import history, rollback, target_of
from training.stages import GATE, Stage, stage_of, unspoken

PASSED = {GATE: {"observations": {}, "accepted": []}}
WHO = {"decided_by": "Dr Who", "reason": "why", "clock": clock}
LIMITED = {GATE: {"observations": {"a": {"spoken": True}, "b": {"spoken": False}}}}


@pytest.fixture
def session():
    with blank_session() as session:
        uids = (f"2.25.{number}" for number in itertools.count(1))
        run = add_training_run(session)
        for letter in "abc":
            register(
                session,
                weights_digest=letter * 64,
                name="spine",
                training_run=run,
                operating_points={},
                uid_source=lambda: next(uids),
                decided_by="radloop",
                clock=clock,
            )
        yield session


def back(session):
    live, before = rollback(session, "spine", **WHO)
    return live.version, before and before.version


def test_a_rollback_restores_what_was_live_before_and_the_next_goes_further(session):
    for version in (1, 2, 3):
        promote(session, f"spine:{version}", **WHO, details=PASSED)
    assert back(session) == (2, 3)
    assert live_model(session, "spine").version == 2
    assert back(session) == (1, 2)
    with pytest.raises(Permanent, match="no earlier version of spine was live"):
        back(session)
    last = history(session, "spine")[-1]
    assert (last[0].version, last[1].stage, last[1].details["rolled_back"]) == (1, "live", 2)


def test_a_version_that_a_person_retired_or_silenced_is_passed_over(session):
    for version in (1, 2, 3):
        promote(session, f"spine:{version}", **WHO, details=PASSED)
    retire(session, "spine:3", **WHO)
    assert back(session) == (2, None)
    promote(session, "spine:3", **WHO, details=PASSED)
    silence(session, "spine:2", **WHO)
    assert back(session) == (1, 3)


def test_what_a_version_did_not_speak_of_it_does_not_speak_of_again(session):
    promote(session, "spine:1", **WHO, details=LIMITED)
    promote(session, "spine:2", **WHO, details=PASSED)
    first, second = (each[0] for each in history(session, "spine")[:2])
    assert unspoken(session, second) == frozenset()
    rollback(session, "spine", **WHO)
    assert unspoken(session, first) == {"b"}
    retire(session, "spine:1", **WHO)
    assert unspoken(session, first) == frozenset()


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("spine", {}, "no earlier version"),
        ("spine:1", {}, "without a version"),
        ("nobody", {}, "no model nobody"),
        ("spine", {"reason": " "}, "who decided and why"),
    ],
)
def test_what_cannot_be_rolled_back_says_why(session, name, change, said):
    promote(session, "spine:1", **WHO, details=PASSED)
    with pytest.raises(Permanent, match=said):
        rollback(session, name, **{**WHO, **change})
    assert live_model(session, "spine").version == 1


def test_silent_models_work_beside_the_live_one(session):
    promote(session, "spine:1", **WHO, details=PASSED)
    silence(session, "spine:3", **WHO)
    silence(session, "spine:2", **WHO)
    silence(session, "spine:2", **WHO)
    assert [each.version for each in models_at_work(session, "spine")] == [1, 2, 3]
    promote(session, "spine:2", **WHO, details=PASSED)
    assert [each.version for each in models_at_work(session, "spine")] == [2, 3]
    stages = [event.stage for model, event in history(session, "spine") if model.version == 2]
    assert stages == ["candidate", "silent", "live"]
    silence(session, "spine:2", **WHO)
    assert live_model(session, "spine") is None
    assert stage_of(session, history(session, "spine")[0][0]) is Stage.RETIRED


def test_who_promoted_an_earlier_version_has_gone_back_already(session):
    for version in (1, 2, 1):
        promote(session, f"spine:{version}", **WHO, details=PASSED)
    with pytest.raises(Permanent, match="no earlier version of spine was live"):
        back(session)
    promote(session, "spine:3", **WHO, details=PASSED)
    assert back(session) == (1, 3)


def test_a_version_that_no_gate_has_judged_is_not_restored_unjudged(session):
    promote(session, "spine:1", **WHO)
    promote(session, "spine:2", **WHO, details=PASSED)
    assert target_of(session, "spine").gate is None
    with pytest.raises(Permanent, match="spine:1 was live before there was a gate"):
        back(session)
    live, _ = rollback(session, "spine", **WHO, gate=LIMITED[GATE])
    assert (live.version, unspoken(session, live)) == (1, {"b"})
