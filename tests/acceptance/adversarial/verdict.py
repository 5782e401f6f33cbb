"""What a node made of the hospitals, held against the truth."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields

from tests.acceptance.adversarial.drafts import Lost, Pair

LEAST_CLEAN_RECALL = 0.98
LEAST_FAULTY_RECALL = 0.90
_EXAMPLES = 12


@dataclass(slots=True)
class Found:
    """A current report as the node has it, with its links.

    Args:
        confirmed: Study Instance UIDs of its confirmed links.
        reason: why it has none; empty: nobody can tell.
        open_reasons: what the links say themselves that are suspended, proposed or refused.
    """

    text: str
    confirmed: frozenset[str] = frozenset()
    reason: str = ""
    open_reasons: frozenset[str] = frozenset()

    @property
    def tells_why(self) -> bool:
        """Whether a reason is given, and is the one for which its links are not confirmed."""
        if not self.open_reasons:
            return bool(self.reason)
        return any(each in self.reason for each in self.open_reasons)


@dataclass
class Verdict:
    """Counts over pairs; those of several runs can be added."""

    pairs: int = 0
    with_fault: int = 0
    messages: int = 0
    studies: int = 0
    confirmed_links: int = 0
    wrong_links: int = 0
    wrong_person: int = 0  # of the wrong links: to a study of somebody else
    stale_links: int = 0  # confirmed links of versions that do not hold
    clean: int = 0
    clean_linked: int = 0
    faulty_linkable: int = 0
    faulty_linked: int = 0
    contested: int = 0
    contested_linked: int = 0
    must_stay_unlinked: int = 0
    linked_without_agreement: int = 0
    withdrawn: int = 0
    withdrawn_linked: int = 0
    unlinked: int = 0
    unlinked_without_reason: int = 0
    texts: int = 0
    texts_wrong: int = 0
    reports_missing: int = 0
    reports_doubled: int = 0
    by_fault: Counter[str] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)

    def __iadd__(self, other: Verdict) -> Verdict:
        for each in fields(self):
            setattr(self, each.name, getattr(self, each.name) + getattr(other, each.name))
        del self.examples[_EXAMPLES:]
        return self

    @property
    def clean_recall(self) -> float:
        """The share of clean pairs that are linked to every study that they are about."""
        return self.clean_linked / max(1, self.clean)

    @property
    def faulty_recall(self) -> float:
        """The same of faulty pairs that still hold the two agreements."""
        return self.faulty_linked / max(1, self.faulty_linkable)

    @property
    def faulty_recall_with_contested(self) -> float:
        """The same where pairs count too whose study a stranger's report names."""
        linked = self.faulty_linked + self.contested_linked
        return linked / max(1, self.faulty_linkable + self.contested)

    @property
    def broken(self) -> list[str]:
        """The promises that were not kept."""
        none_of = (
            "wrong_links",
            "stale_links",
            "linked_without_agreement",
            "withdrawn_linked",
            "unlinked_without_reason",
            "texts_wrong",
            "reports_missing",
            "reports_doubled",
        )
        found = [name for name in none_of if getattr(self, name)]
        found += ["clean_recall"] * (self.clean_recall < LEAST_CLEAN_RECALL)
        found += ["faulty_recall"] * (self.faulty_recall < LEAST_FAULTY_RECALL)
        return found

    def example(self, what: str, pair: Pair, more: str = "") -> None:
        """Keep one of the first of each kind, for whoever looks for the cause."""
        if sum(each.startswith(what) for each in self.examples) < 3:
            lost = [each.name for each in pair.lost]
            self.examples.append(
                f"{what}: {pair.sender} {pair.filler} {list(pair.faults)} {lost} {more}"
            )


def judge(
    pairs: Iterable[Pair],
    people: Mapping[str, int],
    found: Mapping[tuple[str, str], list[Found]],
    unreadable: Mapping[tuple[str, str], str],
) -> Verdict:
    """Compare what was found with the truth.

    Args:
        pairs: the truth.
        people: the person of every study, by UID.
        found: current reports by sender and filler order number.
        unreadable: reasons of messages set aside, by the same key.
    """
    verdict = Verdict()
    known = set()
    for pair in pairs:
        key = (pair.sender, pair.filler)
        known.add(key)
        reports = found.get(key, [])
        verdict.pairs += 1
        verdict.with_fault += bool(pair.faults)
        verdict.reports_doubled += max(0, len(reports) - 1)
        _links(verdict, pair, reports, people)
        _recall(verdict, pair, reports, unreadable.get(key, ""))
        _text(verdict, pair, reports)
    for key in found.keys() - known:
        wrong = sum(len(each.confirmed) for each in found[key])
        verdict.wrong_links += wrong
        verdict.reports_doubled += 1
    return verdict


def _links(verdict: Verdict, pair: Pair, reports: list[Found], people: Mapping[str, int]) -> None:
    own = people[pair.studies[0]]
    for report in reports:
        verdict.confirmed_links += len(report.confirmed)
        for uid in report.confirmed.difference(pair.studies):
            verdict.wrong_links += 1
            verdict.wrong_person += people.get(uid) != own
            verdict.example("wrong link", pair, f"to {uid}")


def _recall(verdict: Verdict, pair: Pair, reports: list[Found], unreadable: str) -> None:
    confirmed = frozenset(uid for each in reports for uid in each.confirmed)
    right = confirmed & frozenset(pair.studies)
    linked = len(right) == len(pair.studies)
    if pair.lost:
        verdict.must_stay_unlinked += 1
        verdict.linked_without_agreement += bool(right)
        if Lost.WITHDRAWN in pair.lost:
            verdict.withdrawn += 1
            verdict.withdrawn_linked += bool(confirmed)
    elif pair.contested:
        verdict.contested += 1
        verdict.contested_linked += linked
    elif pair.clean:
        verdict.clean += 1
        verdict.clean_linked += linked
    else:
        verdict.faulty_linkable += 1
        verdict.faulty_linked += linked
    good = not right if pair.lost else linked
    for fault in pair.faults or ("",):
        outcome = "unlinked" if pair.lost else "contested" if pair.contested else "linkable"
        verdict.by_fault[f"{fault}|{outcome}"] += 1
        verdict.by_fault[f"{fault}|{outcome} and right"] += good
    if not good and not pair.contested:
        reason = "; ".join(each.reason for each in reports) or unreadable
        verdict.example("linked" if pair.lost else "not linked", pair, reason)
    if not confirmed:
        verdict.unlinked += 1
        if not (unreadable or (reports and all(each.tells_why for each in reports))):
            verdict.unlinked_without_reason += 1
            verdict.example("no true reason", pair, _reasons(reports))


def _reasons(reports: list[Found]) -> str:
    return "; ".join(f"{each.reason!r} for {sorted(each.open_reasons)}" for each in reports)


def _text(verdict: Verdict, pair: Pair, reports: list[Found]) -> None:
    """The current text must be the one that holds, word for word; addenda stand behind it."""
    if Lost.UNREADABLE not in pair.lost and not reports:
        verdict.reports_missing += 1
        verdict.example("missing", pair)
        return
    if pair.text is None:
        return
    verdict.texts += 1
    whole = "\n".join(pair.text)
    for report in reports:
        right = report.text == whole
        if pair.appended:
            right = report.text.startswith(whole) and all(
                each.removeprefix("ADDENDUM: ") in report.text for each in pair.appended
            )
        if not right or any(each in report.text for each in pair.superseded):
            verdict.texts_wrong += 1
            verdict.example("text", pair, repr(report.text[:200]))
            return
