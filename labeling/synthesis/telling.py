"""Tells the topics of a plan in sentences that do not contradict each other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ParamSpec

from labeling.synthesis.claims import Statement
from labeling.synthesis.ledger import Ledger
from labeling.synthesis.plan import Topic
from labeling.synthesis.sentences import Sentences
from labeling.synthesis.writer import Writer
from labeling.vocabulary import WHOLE, Observation, State

_P = ParamSpec("_P")

_TRIES, _INSISTED = 4, 40
_JOINED, _AGAINST_ONE, _AGAINST_SOME, _EXCEPT, _PAIRED = 0.4, 0.22, 0.3, 0.05, 0.3
_UNCHANGED, _FURTHER = 0.12, 0.5


class Teller:
    """Writes sentences and keeps those that agree with what was said before."""

    def __init__(self, writer: Writer, sentences: Sentences, ledger: Ledger) -> None:
        self._writer, self._chance = writer, writer.chance
        self._sentences, self._ledger = sentences, ledger

    def kept(
        self, write: Callable[_P, Statement], *arguments: _P.args, **named: _P.kwargs
    ) -> list[Statement]:
        """Write a sentence; none where it would contradict what was said."""
        for _ in range(_TRIES):
            statement = write(*arguments, **named)
            if self._fits(statement):
                self._ledger.add(statement)
                return [statement]
        return []

    def _fits(self, statement: Statement) -> bool:
        facts = self._writer.facts
        return self._ledger.fits(statement.claims) and (facts is None or facts.allow(statement))

    def kept_if_any(self, statement: Statement | None) -> list[Statement]:
        """Keep a sentence that is written already, where there is one and it agrees."""
        if statement is None or not self._fits(statement):
            return []
        self._ledger.add(statement)
        return [statement]

    def found(self, topics: Sequence[Topic], absent: Sequence[Topic]) -> list[Statement]:
        """State findings, each alone, with others at the same place, or against absent ones."""
        said: list[Statement] = []
        waiting = list(topics)
        while waiting:
            topic = waiting.pop(0)
            self._begin("found", topic)
            taken = self._partners(topic, waiting)
            together = [topic.observation, *(each.observation for each in taken)]
            statements = self.kept(self._sentences.joined, together, topic.sites) if taken else []
            if statements:
                waiting = [each for each in waiting if each not in taken]
            said += statements or self.kept(self._one_found, topic, absent)
        return said

    def _partners(self, topic: Topic, waiting: Sequence[Topic]) -> Sequence[Topic]:
        """Draw topics at the same place that can share a sentence with this one."""
        beside = [
            each
            for each in waiting
            if each.sites == topic.sites and not related(each.observation, topic.observation)
        ]
        if not beside or self._chance.random() >= _JOINED:
            return ()
        return beside[: self._chance.choice((1, 1, 2))]

    def _one_found(self, topic: Topic, absent: Sequence[Topic]) -> Statement:
        """State a finding alone, or against others that are absent."""
        drawn = self._chance.random()
        denied = [each.observation for each in absent]
        denied = [each for each in denied if not related(each, topic.observation)]
        if denied and drawn < _AGAINST_ONE:
            chosen = self._chance.choice(denied)
            return self._sentences.found_not(topic.observation, chosen, topic.sites)
        if len(denied) > 1 and drawn < _AGAINST_SOME:
            some = self._chance.sample(denied, 2)
            if some[0] != some[1]:
                return self._sentences.not_found(some, topic.observation, topic.sites)
        if topic.sites and topic.observation.sites and drawn > 1 - _EXCEPT:
            return self._sentences.denied_but_at(topic.observation, topic.sites)
        return self._sentences.found(topic.observation, topic.sites)

    def doubted(self, topics: Sequence[Topic]) -> list[Statement]:
        """Leave findings uncertain."""
        if len(topics) == 2 and topics[0].sites == topics[1].sites:
            first, second = (each.observation for each in topics)
            if self._chance.random() < _PAIRED:
                return self.kept(self._sentences.hedged_pair, first, second, topics[0].sites)
        said: list[Statement] = []
        for each in topics:
            self._begin("doubted", each)
            said += self.kept(self._sentences.hedged, each.observation, each.sites)
        return said

    def denied(self, topics: Sequence[Topic]) -> list[Statement]:
        """Deny findings, alone or as lists."""
        said: list[Statement] = []
        groups: dict[tuple[str, ...], list[Observation]] = {}
        for each in topics:
            groups.setdefault(each.sites, []).append(each.observation)
        for sites, observations in groups.items():
            while observations:
                self._begin("denied", Topic(observations[0], State.ABSENT, sites))
                count = self._chance.choice((1, 1, 2, 3, 4))
                some, observations = observations[:count], observations[count:]
                said += self.kept(self.denied_once, some, sites)
        return said

    def denied_once(
        self, observations: Sequence[Observation], sites: tuple[str, ...], *, headed: bool = False
    ) -> Statement:
        """Deny findings in one sentence."""
        if len(observations) > 1:
            return self._sentences.denied_together(observations, sites, headed=headed)
        return self._sentences.denied(observations[0], sites, headed=headed)

    def stable(self, topics: Sequence[Topic]) -> list[Statement]:
        """Say that findings are as before, without saying how, where there are words for it."""
        said: list[Statement] = []
        for each in topics:
            self._begin("stable", each)
            said += self.kept_if_any(self._sentences.stable(each.observation, each.sites))
        return said

    def insisted(self, topic: Topic) -> list[Statement]:
        """Tell what of a topic was not told yet: trying until there is a sentence that does."""
        missing = tuple(each for each in topic.sites or (WHOLE,) if not self._told(topic, each))
        if not missing:
            return []
        left = topic if missing == (WHOLE,) else Topic(topic.observation, topic.state, missing)
        self._begin("insisted", left)
        for _ in range(_INSISTED):
            statement = self._sentence(left)
            if statement is None or not self._fits(statement):
                continue
            if {(topic.observation.id, each, topic.state) for each in missing} <= {
                (claim.observation, claim.site, claim.state) for claim in statement.claims
            }:
                self._ledger.add(statement)
                return [statement]
        return []

    def _told(self, topic: Topic, site: str) -> bool:
        return self._ledger.state(topic.observation.id, site) is topic.state

    def _sentence(self, topic: Topic) -> Statement | None:
        observation, sites = topic.observation, topic.sites
        if topic.state is State.PRESENT:
            return self._sentences.found(observation, sites)
        if topic.state is State.UNCERTAIN:
            return self._sentences.hedged(observation, sites)
        if topic.state is State.STABLE_UNKNOWN:
            return self._sentences.stable(observation, sites)
        others = set(observation.sites) - self._ledger.sites_of(observation.id)
        if sites and others == set(sites) and self._chance.random() < _FURTHER:
            return self._sentences.denied_elsewhere(observation, sites)
        return self._sentences.denied(observation, sites)

    def _begin(self, act: str, topic: Topic) -> None:
        self._writer.begin(f"{act} {topic.observation.id} {topic.sites[:1]}")

    def all_at(self, sites: Sequence[str]) -> list[Statement]:
        """Say of sites that nothing is wrong there, or nothing new."""
        self._writer.begin(f"all {sites}")
        state = State.STABLE_UNKNOWN if self._chance.random() < _UNCHANGED else State.ABSENT
        kind = "sites_stable" if state is State.STABLE_UNKNOWN else "sites_normal"
        return self.kept(self._sentences.remarks.sites_say, kind, sites, state=state)


def related(first: Observation, second: Observation) -> bool:
    """Return whether two observations are one, or one is the parent of the other."""
    return first.id == second.id or first.id in second.parents or second.id in first.parents
