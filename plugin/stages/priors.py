"""Stage: for a model that wants them, the earlier studies of each study that arrives are fetched.

Only fetching and noting whose they are: no shipped model reads priors. A prior is a study that this
node asked for, so it may train and is never answered.
"""

from __future__ import annotations

from sqlmodel import Session, col, select

from dicom_node.models import Study
from dicom_node.retrieval.models import Backfill, Retrieval, Task
from dicom_node.retrieval.rows import searched_for_priors
from dicom_node.solicited import solicited_studies
from dicom_node.studies import frozen_studies
from plugin.context import Context
from plugin.stages.backfill import named_on_arrival
from training.registry import models_at_work
from training.selection import historical_studies, images
from training.series import series_rule
from training.settings import PredictionRule
from training.stages import newest_event


def want_priors(context: Context) -> int:
    """Write down that priors are wanted of what arrived since a model works; return of how many."""
    rules = [rule for rule in context.settings.prediction if rule.priors]
    if not rules:
        return 0
    with context.database.read() as session:
        wanted = {rule.model: _arrived(session, rule) for rule in rules}
    return sum(_want(context, rule, wanted[rule.model]) for rule in rules if wanted.get(rule.model))


def _arrived(session: Session, rule: PredictionRule) -> set[str]:
    """Return the studies that arrived for a model and whose priors nobody has looked for."""
    events = [newest_event(session, model) for model in models_at_work(session, rule.model)]
    if not events:
        return set()
    since = min(event.decided_at for event in events)
    query = select(Study.study_instance_uid).where(col(Study.first_received_at) >= since)
    found = set(session.exec(query))
    found -= searched_for_priors(session, found)
    found -= solicited_studies(session, found).keys()
    if not found:
        return set()
    found &= images(session, series_rule(rule)).keys()
    return found - frozen_studies(session).keys() - historical_studies(session)


def _want(context: Context, rule: PredictionRule, studies: set[str]) -> int:
    now = context.clock()
    with context.database.write() as session:
        name = named_on_arrival(rule.model)
        backfill = session.exec(select(Backfill).where(Backfill.name == name)).first()
        if backfill is None:
            backfill = Backfill(name=name, peer="", on_arrival=True, created_at=now)
        backfill.peer, backfill.priors = context.settings.retrieval.priors_from, rule.priors
        session.add(backfill)
        session.flush()
        missing = studies - searched_for_priors(session, studies)
        session.add_all(
            Retrieval(
                backfill_id=backfill.id or 0,
                task=Task.PRIORS.value,
                study_instance_uid=uid,
                next_at=now,
            )
            for uid in sorted(missing)
        )
    return len(missing)
