"""Whether a plan is still the one that was frozen: its digests against its rows."""

from __future__ import annotations

from sqlmodel import Session, select

from training.errors import Permanent
from training.evaluation.models import EvaluationMember, EvaluationPlan
from training.evaluation.plan import Plan
from training.evaluation.test_set import digest_of_test_set
from training.manifest import digest_of


def intact_plan(session: Session, row: EvaluationPlan) -> Plan:
    """Return the plan of a row.

    Of a test set that lost erased patients nobody can tell whether other rows were altered, too;
    such a plan is never opened again (``training.evaluation.test_set.changes``).

    Raises:
        Permanent: the rows no longer give the digest that the plan was frozen under.
    """
    altered = Permanent(
        f"plan {row.name!r} is not what was frozen under its digest: it was altered in the database"
    )
    if digest_of(row.content) != row.digest:
        raise altered
    plan = Plan.of_record(row.content)
    query = select(EvaluationMember).where(EvaluationMember.plan_id == row.id)
    members = session.exec(query).all()
    whole = len(members) >= plan.studies
    if whole and digest_of_test_set(members) != plan.test_set:
        raise altered
    return plan
