from types import SimpleNamespace

from dicom_node.models import Message, Report
from labeling.standing import put_in_force
from labeling.vocabulary import WHOLE, State
from plugin.demo.checks import check_labels
from tests.cohort_builders import (
    NOW,
    add_labels,
    add_report,
    add_run,
    add_study,
    blank_session,
    clock,
)

PLACE = ("narrowing", WHOLE)


def add_message(session, control_id):
    message = Message(
        sender="RIS|SITE",
        message_control_id=control_id,
        digest=control_id,
        content=b"",
        disposition="accepted",
        acknowledgement=b"",
        received_at=NOW,
    )
    session.add(message)
    session.flush()
    return message.id


def plan_of(states):
    return SimpleNamespace(
        final_message={uid: f"M{uid}" for uid in states},
        report_states={uid: {PLACE: state} for uid, state in states.items()},
    )


def add_reports(session, uids):
    numbers = {}
    for uid in uids:
        add_study(session, uid, f"P{uid}")
        numbers[uid] = add_report(session, uid)
        session.get_one(Report, numbers[uid]).message_id = add_message(session, f"M{uid}")
    session.flush()
    return numbers


def read(session, numbers, states, model="6" * 64):
    run = add_run(session, model_digest=model)
    put_in_force(session, run, clock)
    for uid, state in states.items():
        add_labels(session, run, numbers[uid], {PLACE: state})


def test_labels_are_held_against_the_texts():
    truth = {"1": State.PRESENT, "2": State.ABSENT, "3": State.ABSENT}
    with blank_session() as session:
        numbers = add_reports(session, truth)
        read(session, numbers, {"1": "present", "2": "absent", "3": "present"})
        found = check_labels(session, plan_of(truth), "rules")["narrowing"]
    assert (found["n"], found["states"]) == (3, {"present": 2, "absent": 1})
    assert found["accuracy"] == 2 / 3
    assert found["balanced_accuracy"] == (1.0 + 0.5) / 2


def test_what_a_labeler_said_before_it_read_anew_counts_no_more():
    truth = {"1": State.PRESENT, "2": State.ABSENT}
    with blank_session() as session:
        numbers = add_reports(session, truth)
        read(session, numbers, {"1": "absent", "2": "present"})
        read(session, numbers, {"1": "present", "2": "absent"}, model="7" * 64)
        found = check_labels(session, plan_of(truth), "rules")["narrowing"]
    assert (found["n"], found["balanced_accuracy"]) == (2, 1.0)


def test_a_labeler_that_read_nothing_has_no_figures():
    with blank_session() as session:
        assert check_labels(session, plan_of({}), "rules") == {}
