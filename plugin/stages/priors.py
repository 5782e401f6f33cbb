"""Stage: for a model that wants them, the earlier studies of each study that arrives are fetched.

Only fetching and noting whose they are: no shipped model reads priors. A prior is a study that this
node asked for, so it may train and is never answered.
"""

from __future__ import annotations

import datetime as dt

from sqlmodel import Session, col, select

from dicom_node.models import Study
from dicom_node.retrieval.models import Backfill, Retrieval, State, Task
from dicom_node.retrieval.rows import searched_for_priors
from dicom_node.solicited import solicited_studies
from dicom_node.studies import completed_contents, frozen_studies, study_digest
from plugin.context import Context
from plugin.stages.backfill import named_on_arrival
from training.registry import models_at_work
from training.selection import historical_studies, images
from training.series import series_rule
from training.settings import PredictionRule
from training.stages import newest_event


def want_priors(context: Context) -> int:
    """Write down that priors are wanted of what arrived since a model works; return of how many.

    Each rule has a list of its own: another rule's search found no more than that rule wants. A
    study is waited for until it is complete, for priors are chosen by its modalities and body
    parts.
    """
    rules = [rule for rule in context.settings.prediction if rule.priors]
    if not rules:
        return 0
    with context.database.read() as session:
        wanted = {rule.model: _arrived(session, rule) for rule in rules}
        raised = {rule.model: _is_raised(session, rule) for rule in rules}
    return sum(
        _want(context, rule, wanted[rule.model])
        for rule in rules
        if wanted[rule.model] or raised[rule.model]
    )


def _list_of(session: Session, rule: PredictionRule) -> Backfill | None:
    name = named_on_arrival(rule.model)
    return session.exec(select(Backfill).where(Backfill.name == name)).first()


def _is_raised(session: Session, rule: PredictionRule) -> bool:
    backfill = _list_of(session, rule)
    return backfill is not None and backfill.priors < rule.priors


def _arrived(session: Session, rule: PredictionRule) -> set[str]:
    """Return the complete studies that arrived for a model and whose priors it did not look for."""
    events = [newest_event(session, model) for model in models_at_work(session, rule.model)]
    if not events:
        return set()
    since = min(event.decided_at for event in events)
    query = select(Study.study_instance_uid).where(col(Study.first_received_at) >= since)
    found = set(session.exec(query))
    backfill = _list_of(session, rule)
    found -= searched_for_priors(session, found, backfill.id if backfill is not None else None)
    found -= solicited_studies(session, found).keys()
    if not found:
        return set()
    found &= images(session, series_rule(rule)).keys()
    found -= frozen_studies(session).keys() | historical_studies(session)
    return _complete(session, found)


def _complete(session: Session, studies: set[str]) -> set[str]:
    completed = completed_contents(session) if studies else {}
    return {uid for uid in studies if study_digest(session, uid) in completed.get(uid, ())}


def _want(context: Context, rule: PredictionRule, studies: set[str]) -> int:
    now = context.clock()
    with context.database.write() as session:
        backfill = _list_of(session, rule)
        again = 0
        if backfill is None:
            name = named_on_arrival(rule.model)
            backfill = Backfill(name=name, peer="", on_arrival=True, created_at=now)
        elif backfill.priors < rule.priors:
            again = _search_again(session, backfill, now)
        backfill.peer, backfill.priors = context.settings.retrieval.priors_from, rule.priors
        session.add(backfill)
        session.flush()
        missing = studies - searched_for_priors(session, studies, backfill.id)
        session.add_all(
            Retrieval(
                backfill_id=backfill.id or 0,
                task=Task.PRIORS.value,
                study_instance_uid=uid,
                next_at=now,
            )
            for uid in sorted(missing)
        )
    return len(missing) + again


def _search_again(session: Session, backfill: Backfill, now: dt.datetime) -> int:
    """Have a list search once more for more priors than it wanted; return for how many studies."""
    rows = session.exec(
        select(Retrieval).where(
            Retrieval.backfill_id == backfill.id,
            Retrieval.task == Task.PRIORS.value,
            Retrieval.state == State.SEARCHED.value,
        )
    ).all()
    for row in rows:
        row.state, row.attempts, row.next_at = State.WAITING.value, 0, now
        row.detail, row.finished_at = "", None
        session.add(row)
    return len(rows)
