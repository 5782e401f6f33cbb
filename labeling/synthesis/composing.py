"""Turns the topics of a plan into sentences that do not contradict each other."""

from __future__ import annotations

from collections.abc import Sequence

from labeling.synthesis.claims import Statement
from labeling.synthesis.ledger import Ledger
from labeling.synthesis.phrasings import Sentence
from labeling.synthesis.plan import Plan, Topic
from labeling.synthesis.sentences import Sentences
from labeling.synthesis.telling import Teller
from labeling.synthesis.writer import Writer
from labeling.vocabulary import State

_SAID_NORMAL, _MENTIONED = 0.6, 0.1


class Composer:
    """Writes the findings, the summary and the rest of one report as sentences."""

    def __init__(self, writer: Writer, plan: Plan) -> None:
        self._writer, self._chance, self._plan = writer, writer.chance, plan
        self._schema, self._own = writer.schema, writer.wording.own
        writer.begin("names")
        self.sentences = Sentences(writer)
        self._remarks = self.sentences.remarks
        self.ledger = Ledger(writer.schema)
        self._tell = Teller(writer, self.sentences, self.ledger)

    def findings(self) -> list[Statement]:
        """Return the sentences of the findings, in an order of chance."""
        by_state = {
            state: [each for each in self._plan.topics if each.state is state]
            for state in (State.PRESENT, State.UNCERTAIN, State.ABSENT, State.STABLE_UNKNOWN)
        }
        said = self._tell.found(by_state[State.PRESENT], by_state[State.ABSENT])
        said += self._tell.doubted(by_state[State.UNCERTAIN])
        said += self._joint()
        said += self._tell.denied(by_state[State.ABSENT])
        said += self._tell.stable(by_state[State.STABLE_UNKNOWN])
        self._writer.begin("order")
        if self._chance.random() < 0.6:
            self._chance.shuffle(said)
        return self._closed(said) + self._rest()

    def by_site(self) -> list[tuple[tuple[str, ...], list[Statement]]]:
        """Return the findings site by site: the sites of a heading and what stands under it.

        An entry without sites has no heading: its sentence names the site.
        """
        sites = [each.id for each in self._schema.sites]
        self._writer.begin("list")
        if self._chance.random() < 0.3 and self._writer.facts is None:
            sites = sorted(self._chance.sample(sites, max(1, len(sites) - 2)), key=sites.index)
        if self._chance.random() < 0.12:
            sites.reverse()
        listed: list[tuple[tuple[str, ...], list[Statement]]] = []
        for site in sites:
            self._writer.begin(f"site {site}")
            said = self._at_site(site)
            if said:
                listed.append(((site,), said))
            elif self._chance.random() < _SAID_NORMAL:
                listed.append(((), self._tell.all_at((site,))))
        return [each for each in listed if each[1]]

    def unplaced(self) -> list[Statement]:
        """Return the sentences on topics without a site, which stand beside a list of sites."""
        topics = [each for each in self._plan.topics if not each.sites]
        said = self._tell.found([t for t in topics if t.state is State.PRESENT], [])
        said += self._tell.doubted([t for t in topics if t.state is State.UNCERTAIN])
        said += self._tell.denied([t for t in topics if t.state is State.ABSENT])
        return said + self._rest()

    def summary(self) -> list[Statement]:
        """Return an impression: the findings in other words, rarely one more or another."""
        told = [t for t in self._plan.topics if t.state in (State.PRESENT, State.UNCERTAIN)]
        told = [t for t in told if self._said(t)]
        self._writer.begin("summary")
        if told and self._chance.random() < 0.3:
            told = self._chance.sample(told, self._chance.randint(1, len(told)))
        said = self._tell.found([t for t in told if t.state is State.PRESENT], [])
        said += self._tell.doubted([t for t in told if t.state is State.UNCERTAIN])
        if not said:
            normal = self._normal()
            said += [normal] if normal else []
        denied = [t for t in self._plan.topics if t.state is State.ABSENT]
        if denied and self._chance.random() < 0.3:
            said += self._tell.denied(denied[:3])
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

    def technique(self) -> str:
        """Return a sentence of the schema's file on how the images were taken; "": it has none."""
        known = self._fitting(self._writer.of(self._own.techniques))
        return self._chance.choice(known).text if known else ""

    def distractors(self, count: int) -> list[Statement]:
        """Return up to ``count`` sentences that claim nothing."""
        known = self._fitting(self._writer.of(self._own.distractors))
        drawn = self._chance.sample(known, min(count, len(known)))
        said = [self.sentences.joint(each, ()) for each in drawn]
        levelled = [each for each in self._plan.observations if each.sites]
        if self._chance.random() < _MENTIONED:
            said.append(self._mentioned())
        if levelled and self._chance.random() < 0.15:
            other = self._remarks.elsewhere(self._chance.choice(levelled))
            said += [other] if other else []
        return said

    def normal_study(self) -> list[Statement]:
        """Return what a report of a normal or an unchanged study says, or what claims nothing."""
        self._writer.begin("normal")
        if self._chance.random() < 0.2:
            said = self._study(State.STABLE_UNKNOWN)
        else:
            normal = self._normal()
            said = [normal] if normal else []
        return said or self.distractors(2) or [self._mentioned()]

    # Parts

    def _rest(self) -> list[Statement]:
        """Return what of given facts is not said yet."""
        if self._writer.facts is None:
            return []
        return [said for topic in self._plan.topics for said in self._tell.insisted(topic)]

    def _joint(self) -> list[Statement]:
        """Return some of the file's sentences about several findings."""
        self._writer.begin("joint")
        count = self._chance.choice((0, 0, 1, 1, 2, 3))
        if self._writer.facts is not None:
            return self._joint_facts(count)
        known = self._joints()
        said: list[Statement] = []
        for chosen in self._chance.sample(known, min(count, len(known))):
            sites = self._some_sites()
            said += self._tell.kept(self.sentences.joint, chosen, sites)
        return said

    def _joint_facts(self, count: int) -> list[Statement]:
        """Return sentences about several findings that are so."""
        places: list[tuple[str, ...]] = [(), *((each.id,) for each in self._schema.sites)]
        so = [(each, sites) for sites in places for each in self._joints(sites)]
        said: list[Statement] = []
        for chosen, sites in self._chance.sample(so, min(count, len(so))):
            said += self._tell.kept(self.sentences.joint, chosen, sites)
        return said

    def _at_site(self, site: str) -> list[Statement]:
        """Return what stands under the name of one site."""
        topics = [each for each in self._plan.topics if site in each.sites]
        found = [each.observation for each in topics if each.state is State.PRESENT]
        said: list[Statement] = []
        if len(found) > 1 and self._chance.random() < 0.4:
            said += self._tell.kept(self.sentences.joined, found, (site,), headed=True)
            found = []
        for each in found:
            said += self._tell.kept(self.sentences.found, each, (site,), headed=True)
        for doubt in (t.observation for t in topics if t.state is State.UNCERTAIN):
            said += self._tell.kept(self.sentences.hedged, doubt, (site,), headed=True)
        known = self._joints((site,))
        if known and self._chance.random() < 0.4:
            chosen = self._chance.choice(known)
            said += self._tell.kept(self.sentences.joint, chosen, (site,), headed=True)
        levelled = [each for each in self._plan.observations if site in each.sites]
        denied = [each for each in levelled if not self.ledger.has(each.id, (State.PRESENT,))]
        if said and denied and self._chance.random() < 0.5:
            some = self._chance.sample(denied, min(len(denied), self._chance.randint(1, 3)))
            said += self._tell.kept(self._tell.denied_once, some, (site,), headed=True)
        return said

    def _closed(self, said: list[Statement]) -> list[Statement]:
        """Add what is said of the places that were not named."""
        self._writer.begin("closed")
        levelled = [each for each in self._plan.observations if each.sites]
        left = [s.id for s in self._schema.sites if s.id not in self.ledger.named()]
        if not levelled or len(left) == len(self._schema.sites):
            return said
        drawn = self._chance.random()
        if left and drawn < 0.15:
            rest = self._remarks.rest_normal(left)
            return said + self._tell.kept_if_any(rest)
        if left and drawn < 0.3:
            return said + self._tell.all_at(left[: self._chance.randint(1, len(left))])
        present = [o for o in levelled if self.ledger.has(o.id, (State.PRESENT,))]
        present = [o for o in present if self.ledger.sites_of(o.id)]
        if present and drawn < 0.42:
            chosen = self._chance.choice(present)
            others = [s for s in chosen.sites if s not in self.ledger.sites_of(chosen.id)]
            if others:
                return said + self._tell.kept(self.sentences.denied_elsewhere, chosen, others)
        return said

    def _contradiction(self) -> list[Statement]:
        """Return a sentence that gainsays the findings: whichever says present is right."""
        told = (State.PRESENT, State.ABSENT)
        known = [t for t in self._plan.topics if t.state in told and self._said(t)]
        if not known or self._writer.facts is not None:
            return []
        topic = self._chance.choice(known)
        gainsay = self.sentences.denied if topic.state is State.PRESENT else self.sentences.found
        return [gainsay(topic.observation, topic.sites)]

    def _normal(self) -> Statement | None:
        """Return that all is normal, in the words of the schema's file or in any."""
        own = self._fitting(self._writer.of(self._own.normals))
        chosen = self._chance.choice(own) if own and self._chance.random() < 0.6 else None
        if chosen is not None and chosen.absent:
            said = self._tell.kept(self.sentences.joint, chosen, ())
        elif chosen is not None:
            # Of several body parts the sentence may speak of one only.
            parts = set(chosen.body_parts)
            ids = tuple(
                each.id
                for each in self._plan.observations
                if not (parts and each.body_parts) or parts.intersection(each.body_parts)
            )
            everything = Sentence(chosen.text, absent=ids)
            said = self._tell.kept(self.sentences.joint, everything, ())
        else:
            said = self._study(State.ABSENT)
        return said[0] if said else None

    def _mentioned(self) -> Statement:
        return self._remarks.mentioned(self._chance.choice(self._plan.observations))

    def _study(self, state: State) -> list[Statement]:
        plan = self._plan
        return self._tell.kept(self._remarks.study, state, plan.observations, plan.study)

    def _said(self, topic: Topic) -> bool:
        return self.ledger.has(topic.observation.id, (topic.state,))

    def _joints(self, sites: Sequence[str] = ()) -> list[Sentence]:
        """Return the sentences about several findings that find nothing that is muted.

        Of given facts, those that are so at the sites.
        """
        known = self._fitting(self._writer.of(self._own.joint))
        muted = self._plan.muted
        known = [each for each in known if muted.isdisjoint((*each.present, *each.uncertain))]
        facts = self._writer.facts
        return [each for each in known if facts is None or facts.allow_sentence(each, sites)]

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
