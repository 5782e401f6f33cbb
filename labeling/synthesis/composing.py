"""Turns the topics of a plan into sentences that do not contradict each other."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from labeling.synthesis.claims import Statement
from labeling.synthesis.generated import Split
from labeling.synthesis.ledger import Ledger
from labeling.synthesis.phrasings import Sentence
from labeling.synthesis.plan import Plan, Topic
from labeling.synthesis.sentences import Sentences
from labeling.synthesis.wording_file import Wording
from labeling.vocabulary import LabelSchema, Observation, State

_TRIES = 4
_JOINED, _AGAINST_ONE, _AGAINST_SOME, _EXCEPT = 0.4, 0.22, 0.3, 0.05
_SAID_NORMAL, _UNCHANGED, _MENTIONED = 0.6, 0.12, 0.1


class Composer:
    """Writes the findings, the summary and the rest of one report as sentences."""

    def __init__(
        self,
        schema: LabelSchema,
        wording: Wording,
        split: Split,
        chance: random.Random,
        plan: Plan,
        *,
        telegraphic: bool,
    ) -> None:
        self._schema, self._wording, self._split = schema, wording, split
        self._chance, self._plan = chance, plan
        self.sentences = Sentences(schema, wording, split, chance, telegraphic=telegraphic)
        self.ledger = Ledger(schema)

    def findings(self) -> list[Statement]:
        """Return the sentences of the findings, in an order of chance."""
        by_state = {
            state: [each for each in self._plan.topics if each.state is state]
            for state in (State.PRESENT, State.UNCERTAIN, State.ABSENT, State.STABLE_UNKNOWN)
        }
        said = self._found(by_state[State.PRESENT], by_state[State.ABSENT])
        said += self._doubted(by_state[State.UNCERTAIN])
        said += self._joint()
        said += self._denied(by_state[State.ABSENT])
        said += self._stable(by_state[State.STABLE_UNKNOWN])
        if self._chance.random() < 0.6:
            self._chance.shuffle(said)
        return self._closed(said)

    def by_site(self) -> list[tuple[tuple[str, ...], list[Statement]]]:
        """Return the findings site by site: the sites of a heading and what stands under it.

        An entry without sites has no heading: its sentence names the site.
        """
        sites = [each.id for each in self._schema.sites]
        if self._chance.random() < 0.3:
            sites = sorted(self._chance.sample(sites, max(1, len(sites) - 2)), key=sites.index)
        if self._chance.random() < 0.12:
            sites.reverse()
        listed: list[tuple[tuple[str, ...], list[Statement]]] = []
        for site in sites:
            said = self._at_site(site)
            if said:
                listed.append(((site,), said))
            elif self._chance.random() < _SAID_NORMAL:
                listed.append(((), self._all_at((site,))))
        return [each for each in listed if each[1]]

    def unplaced(self) -> list[Statement]:
        """Return the sentences on topics without a site, which stand beside a list of sites."""
        topics = [each for each in self._plan.topics if not each.sites]
        said = self._found([t for t in topics if t.state is State.PRESENT], [])
        said += self._doubted([t for t in topics if t.state is State.UNCERTAIN])
        said += self._denied([t for t in topics if t.state is State.ABSENT])
        return said

    def summary(self) -> list[Statement]:
        """Return an impression: the findings in other words, rarely one more or another."""
        told = [t for t in self._plan.topics if t.state in (State.PRESENT, State.UNCERTAIN)]
        told = [t for t in told if self._said(t)]
        if told and self._chance.random() < 0.3:
            told = self._chance.sample(told, self._chance.randint(1, len(told)))
        said = self._found([t for t in told if t.state is State.PRESENT], [])
        said += self._doubted([t for t in told if t.state is State.UNCERTAIN])
        if not said:
            normal = self._normal()
            said += [normal] if normal else []
        denied = [t for t in self._plan.topics if t.state is State.ABSENT]
        if denied and self._chance.random() < 0.3:
            said += self._denied(denied[:3])
        if self._chance.random() < 0.04:
            said += self._contradiction()
        return said

    def addendum(self) -> list[Statement]:
        """Return an addendum that adds a finding or takes one back."""
        found = [t for t in self._plan.topics if t.state is State.PRESENT and self._said(t)]
        if found and self._chance.random() < 0.5:
            taken = self._chance.choice(found)
            return [self.sentences.amended("withdrawn", taken.observation, taken.sites)]
        observation = self._chance.choice(self._plan.observations)
        sites: tuple[str, ...] = ()
        if observation.sites and self._chance.random() < 0.7:
            sites = (self._chance.choice(observation.sites),)
        return [self.sentences.amended("added", observation, sites)]

    def distractors(self, count: int) -> list[Statement]:
        """Return up to ``count`` sentences that claim nothing."""
        known = self._fitting(self._wording.own.distractors.of(self._split))
        drawn = self._chance.sample(known, min(count, len(known)))
        said = [self.sentences.joint(each, ()) for each in drawn]
        levelled = [each for each in self._plan.observations if each.sites]
        if self._chance.random() < _MENTIONED:
            said.append(self.sentences.mentioned(self._chance.choice(self._plan.observations)))
        if levelled and self._chance.random() < 0.15:
            other = self.sentences.elsewhere(self._chance.choice(levelled))
            said += [other] if other else []
        return said

    def normal_study(self) -> list[Statement]:
        """Return what a report of a normal or an unchanged study says."""
        if self._chance.random() < 0.2:
            stable = self.sentences.study(
                State.STABLE_UNKNOWN, self._plan.observations, self._plan.study
            )
            return self._kept(lambda: stable)
        normal = self._normal()
        return [normal] if normal else []

    # Parts

    def _found(self, topics: Sequence[Topic], absent: Sequence[Topic]) -> list[Statement]:
        said: list[Statement] = []
        waiting = list(topics)
        while waiting:
            topic = waiting.pop(0)
            beside = [
                each
                for each in waiting
                if each.sites == topic.sites and not _related(each.observation, topic.observation)
            ]
            if beside and self._chance.random() < _JOINED:
                taken = beside[: self._chance.choice((1, 1, 2))]
                together = [topic.observation, *(each.observation for each in taken)]
                statements = self._kept(lambda o=together, t=topic: self._together(o, t.sites))
                if statements:
                    waiting = [each for each in waiting if each not in taken]
                    said += statements
                    continue
            said += self._kept(lambda t=topic: self._one_found(t, absent))
        return said

    def _together(self, observations: Sequence[Observation], sites: tuple[str, ...]) -> Statement:
        return self.sentences.joined(observations, sites)

    def _one_found(self, topic: Topic, absent: Sequence[Topic]) -> Statement:
        """State a finding alone, or against others that are absent."""
        drawn = self._chance.random()
        denied = [each.observation for each in absent]
        denied = [each for each in denied if not _related(each, topic.observation)]
        if denied and drawn < _AGAINST_ONE:
            chosen = self._chance.choice(denied)
            return self.sentences.found_not(topic.observation, chosen, topic.sites)
        if len(denied) > 1 and drawn < _AGAINST_SOME:
            some = self._chance.sample(denied, 2)
            if some[0] != some[1]:
                return self.sentences.not_found(some, topic.observation, topic.sites)
        if topic.sites and topic.observation.sites and drawn > 1 - _EXCEPT:
            return self.sentences.denied_but_at(topic.observation, topic.sites)
        return self.sentences.found(topic.observation, topic.sites)

    def _doubted(self, topics: Sequence[Topic]) -> list[Statement]:
        if len(topics) == 2 and topics[0].sites == topics[1].sites and self._chance.random() < 0.3:
            first, second = topics
            return self._kept(
                lambda: self.sentences.hedged_pair(
                    first.observation, second.observation, first.sites
                )
            )
        return [
            statement
            for each in topics
            for statement in self._kept(
                lambda t=each: self.sentences.hedged(t.observation, t.sites)
            )
        ]

    def _denied(self, topics: Sequence[Topic]) -> list[Statement]:
        said: list[Statement] = []
        groups: dict[tuple[str, ...], list[Observation]] = {}
        for each in topics:
            groups.setdefault(each.sites, []).append(each.observation)
        for sites, observations in groups.items():
            while observations:
                count = self._chance.choice((1, 1, 2, 3, 4))
                some, observations = observations[:count], observations[count:]
                said += self._kept(lambda s=some, at=sites: self._denied_once(s, at))
        return said

    def _denied_once(
        self, observations: Sequence[Observation], sites: tuple[str, ...]
    ) -> Statement:
        if len(observations) > 1:
            return self.sentences.denied_together(observations, sites)
        return self.sentences.denied(observations[0], sites)

    def _stable(self, topics: Sequence[Topic]) -> list[Statement]:
        stable = (self.sentences.stable(each.observation, each.sites) for each in topics)
        return [each for s in stable if s for each in self._kept(lambda s=s: s)]

    def _joint(self) -> list[Statement]:
        """Return some of the file's sentences about several findings."""
        known = self._joints()
        said: list[Statement] = []
        for _ in range(self._chance.choice((0, 0, 1, 1, 2, 3)) if known else 0):
            chosen = self._chance.choice(known)
            sites = self._some_sites()
            said += self._kept(lambda c=chosen, s=sites: self.sentences.joint(c, s))
        return said

    def _at_site(self, site: str) -> list[Statement]:
        """Return what stands under the name of one site."""
        topics = [each for each in self._plan.topics if site in each.sites]
        found = [each.observation for each in topics if each.state is State.PRESENT]
        said: list[Statement] = []
        if len(found) > 1 and self._chance.random() < 0.4:
            said += self._kept(lambda: self.sentences.joined(found, (site,), headed=True))
            found = []
        for each in found:
            said += self._kept(lambda o=each: self.sentences.found(o, (site,), headed=True))
        for each in topics:
            if each.state is State.UNCERTAIN:
                said += self._kept(
                    lambda t=each: self.sentences.hedged(t.observation, (site,), headed=True)
                )
        known = self._joints()
        if known and self._chance.random() < 0.4:
            chosen = self._chance.choice(known)
            said += self._kept(lambda: self.sentences.joint(chosen, (site,), headed=True))
        levelled = [each for each in self._plan.observations if site in each.sites]
        denied = [each for each in levelled if not self.ledger.has(each.id, (State.PRESENT,))]
        if said and denied and self._chance.random() < 0.5:
            some = self._chance.sample(denied, min(len(denied), self._chance.randint(1, 3)))
            said += self._kept(lambda: self._headed_denial(some, site))
        return said

    def _all_at(self, sites: Sequence[str]) -> list[Statement]:
        """Say of sites that nothing is wrong there, or nothing new."""
        state = State.STABLE_UNKNOWN if self._chance.random() < _UNCHANGED else State.ABSENT
        kind = "sites_stable" if state is State.STABLE_UNKNOWN else "sites_normal"
        return self._kept(lambda: self.sentences.sites_say(kind, sites, state=state))

    def _headed_denial(self, observations: Sequence[Observation], site: str) -> Statement:
        if len(observations) > 1:
            return self.sentences.denied_together(observations, (site,), headed=True)
        return self.sentences.denied(observations[0], (site,), headed=True)

    def _closed(self, said: list[Statement]) -> list[Statement]:
        """Add what is said of the places that were not named."""
        levelled = [each for each in self._plan.observations if each.sites]
        left = [s.id for s in self._schema.sites if s.id not in self.ledger.named()]
        if not levelled or len(left) == len(self._schema.sites):
            return said
        drawn = self._chance.random()
        if left and drawn < 0.15:
            rest = self.sentences.rest_normal(left)
            return said + (self._kept(lambda: rest) if rest else [])
        if left and drawn < 0.3:
            return said + self._all_at(left[: self._chance.randint(1, len(left))])
        present = [o for o in levelled if self.ledger.has(o.id, (State.PRESENT,))]
        present = [o for o in present if self.ledger.sites_of(o.id)]
        if present and drawn < 0.42:
            chosen = self._chance.choice(present)
            others = [s for s in chosen.sites if s not in self.ledger.sites_of(chosen.id)]
            if others:
                return said + self._kept(lambda: self.sentences.denied_elsewhere(chosen, others))
        return said

    def _contradiction(self) -> list[Statement]:
        """Return a sentence that gainsays the findings: whichever says present is right."""
        told = (State.PRESENT, State.ABSENT)
        known = [t for t in self._plan.topics if t.state in told and self._said(t)]
        if not known:
            return []
        topic = self._chance.choice(known)
        gainsay = self.sentences.denied if topic.state is State.PRESENT else self.sentences.found
        return [gainsay(topic.observation, topic.sites)]

    def _normal(self) -> Statement | None:
        """Return that all is normal, in the words of the schema's file or in any."""
        own = self._fitting(self._wording.own.normals.of(self._split))
        chosen = self._chance.choice(own) if own and self._chance.random() < 0.6 else None
        if chosen is not None and chosen.absent:
            said = self._kept(lambda: self.sentences.joint(chosen, ()))
        elif chosen is not None:
            ids = tuple(each.id for each in self._plan.observations)
            everything = Sentence(chosen.text, absent=ids)
            said = self._kept(lambda: self.sentences.joint(everything, ()))
        else:
            observations = self._plan.observations
            said = self._kept(
                lambda: self.sentences.study(State.ABSENT, observations, self._plan.study)
            )
        return said[0] if said else None

    def _kept(self, write: Callable[[], Statement]) -> list[Statement]:
        """Write a sentence; none where it would contradict what was said."""
        for _ in range(_TRIES):
            statement = write()
            if self.ledger.fits(statement.claims):
                self.ledger.add(statement)
                return [statement]
        return []

    def _said(self, topic: Topic) -> bool:
        return self.ledger.has(topic.observation.id, (topic.state,))

    def _joints(self) -> list[Sentence]:
        """Return the sentences about several findings that find nothing that is muted."""
        known = self._fitting(self._wording.own.joint.of(self._split))
        muted = self._plan.muted
        return [each for each in known if muted.isdisjoint((*each.present, *each.uncertain))]

    def _some_sites(self) -> tuple[str, ...]:
        sites = [each.id for each in self._schema.sites]
        if not sites or self._chance.random() < 0.25:
            return ()
        return (self._chance.choice(sites),)

    def _fitting(self, sentences: Sequence[Sentence]) -> list[Sentence]:
        """Return the sentences that are about the report's body part."""
        part = self._plan.body_part
        known = {each.id for each in self._plan.observations}
        return [
            each
            for each in sentences
            if (not part or not each.body_parts or part in each.body_parts)
            and known.issuperset((*each.present, *each.absent, *each.uncertain))
        ]


def _related(first: Observation, second: Observation) -> bool:
    return first.id == second.id or first.id in second.parents or second.id in first.parents
