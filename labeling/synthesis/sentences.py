"""Writes sentences about findings, each with what it claims."""

from __future__ import annotations

from collections.abc import Sequence

from labeling.synthesis.claims import Statement, at_sites
from labeling.synthesis.frames import Frames, filled
from labeling.synthesis.nouns import Noun, Nouns, capitalised
from labeling.synthesis.phrasings import Sentence
from labeling.synthesis.remarks import Remarks
from labeling.synthesis.site_names import SiteNames, is_level, listed, vertebrae
from labeling.synthesis.where import Where
from labeling.synthesis.writer import Writer
from labeling.vocabulary import Observation, State

Sites = Sequence[str]

_SAID_FREELY, _CHANGED, _RESOLVED = 0.35, 0.12, 0.06
_FRAMES = {State.PRESENT: "found", State.ABSENT: "denied", State.UNCERTAIN: "hedged"}


class Sentences:
    """One writer's sentences.

    ``headed`` says that a sentence stands under the name of its sites, so it does not name them.
    """

    def __init__(self, writer: Writer) -> None:
        self._writer, self._chance = writer, writer.chance
        self.names = SiteNames(writer.schema, writer.chance)
        self.nouns = Nouns(writer)
        self._where = Where(writer, self.names)
        self._frames = Frames(writer)
        self.remarks = Remarks(writer, self._frames, self.nouns, self.names)

    # One finding

    def found(self, observation: Observation, sites: Sites, *, headed: bool = False) -> Statement:
        """State a finding."""
        own = self._writer.of(self._writer.own(observation).says)
        if own and self._chance.random() < _SAID_FREELY:
            return self._said(observation, own, sites, State.PRESENT, headed=headed)
        noun = self.nouns.present(observation, sites)
        if len(sites) == 1 and sites[0] in observation.sites and not headed and self._half():
            frame = self._frames.site_first()
            text = filled(frame, noun, "", site=self.names.name(sites[0]))
            return _of(observation, sites, State.PRESENT, text, noun.text)
        kind = "changed" if self._compares(_CHANGED) else "found"
        if kind == "changed":  # "the", "new" or "known" stand before the noun
            noun = self.nouns.bare(observation, sites)
        return self._framed(kind, observation, noun, sites, State.PRESENT, headed=headed)

    def denied(self, observation: Observation, sites: Sites, *, headed: bool = False) -> Statement:
        """State that a finding is not there."""
        own = self._writer.of(self._writer.own(observation).denies)
        if own and self._chance.random() < _SAID_FREELY:
            return self._said(observation, own, sites, State.ABSENT, headed=headed)
        noun = _noun(self.nouns.absent(observation))
        passing = not self._writer.own(observation).lasting
        kind = "resolved" if passing and self._compares(_RESOLVED) else "denied"
        return self._framed(kind, observation, noun, sites, State.ABSENT, headed=headed)

    def hedged(self, observation: Observation, sites: Sites, *, headed: bool = False) -> Statement:
        """Leave a finding uncertain."""
        own = self._writer.of(self._writer.own(observation).hedges)
        if own and self._chance.random() < _SAID_FREELY:
            return self._said(observation, own, sites, State.UNCERTAIN, headed=headed)
        noun = self.nouns.bare(observation, sites)
        return self._framed("hedged", observation, noun, sites, State.UNCERTAIN, headed=headed)

    def stable(
        self, observation: Observation, sites: Sites, *, headed: bool = False
    ) -> Statement | None:
        """Say that it is as before, without saying how; None where there are no words for it."""
        own = self._writer.of(self._writer.own(observation).stable)
        usable = [each for each in own if not _names_vertebrae(each)]
        if not usable:
            return None
        return self._said(observation, usable, sites, State.STABLE_UNKNOWN, headed=headed)

    def denied_but_at(self, observation: Observation, sites: Sites) -> Statement:
        """Deny a finding everywhere but at some sites, which have it."""
        noun = _noun(self.nouns.absent(observation))
        frame = self._frames.one("denied_except")
        text = filled(frame, noun, "", sites=self.names.names(sites))
        others = [each for each in observation.sites if each not in sites]
        claims = at_sites(observation, sites, State.PRESENT, noun.text)
        denied = at_sites(observation, others, State.ABSENT) if others else ()
        return Statement(capitalised(text), claims + denied)

    def denied_elsewhere(self, observation: Observation, sites: Sites) -> Statement:
        """Deny a finding at the sites that were not named before."""
        noun = _noun(self.nouns.absent(observation))
        text = filled(self._frames.one("denied_elsewhere"), noun, "")
        return _of(observation, sites, State.ABSENT, text)

    def amended(self, kind: str, observation: Observation, sites: Sites) -> Statement:
        """Say in an addendum that a finding is there ("added") or is not ("withdrawn")."""
        state = State.PRESENT if kind == "added" else State.ABSENT
        noun = self.nouns.bare(observation, sites)
        return self._framed(kind, observation, noun, sites, state, headed=False)

    # Several findings

    def joined(
        self, observations: Sequence[Observation], sites: Sites, *, headed: bool = False
    ) -> Statement:
        """State two or more findings in one sentence."""
        nouns = [self.nouns.present(each, sites, plain=True) for each in observations]
        at, _ = self._where.at(observations[-1], sites, headed=headed, placed=False)
        rest = listed([each.text for each in nouns[1:]], "and")
        text = self._frames.one("joined").format(a=nouns[0].text, b=rest, at=at)
        claims = [
            claim
            for each, noun in zip(observations, nouns, strict=True)
            for claim in at_sites(each, sites, State.PRESENT, noun.text)
        ]
        return Statement(capitalised(text), tuple(claims))

    def found_not(
        self, present: Observation, absent: Observation, sites: Sites, *, headed: bool = False
    ) -> Statement:
        """State one finding and deny another in one sentence."""
        noun = self.nouns.present(present, sites, plain=True)
        at, words = self._where.at(present, sites, headed=headed, noun=noun.text)
        text = self._frames.one("found_not").format(a=noun.text, b=self.nouns.absent(absent), at=at)
        claims = at_sites(present, sites, State.PRESENT, f"{noun.text} {words}")
        return Statement(capitalised(text), claims + at_sites(absent, sites, State.ABSENT))

    def not_found(
        self, absent: Sequence[Observation], present: Observation, sites: Sites
    ) -> Statement:
        """Deny a list of findings for the whole and state another."""
        noun = self.nouns.present(present, sites, plain=True)
        at, words = self._where.at(present, sites, headed=False, noun=noun.text)
        denied = self._denied_list(absent)
        text = self._frames.one("not_found").format(list=denied, np=noun.text, at=at)
        claims = [claim for each in absent for claim in at_sites(each, (), State.ABSENT)]
        claims += at_sites(present, sites, State.PRESENT, f"{noun.text} {words}")
        return Statement(capitalised(text), tuple(claims))

    def denied_together(
        self, observations: Sequence[Observation], sites: Sites, *, headed: bool = False
    ) -> Statement:
        """Deny several findings: the negation's scope is the whole list."""
        at, _ = self._where.at(observations[0], sites, headed=headed, placed=False)
        if len(observations) == 2 and self._chance.random() < 0.3:
            first, second = (self.nouns.absent(each) for each in observations)
            text = self._frames.one("denied_pairs").format(a=first, b=second, at=at)
        else:
            text = self._frames.one("denied_lists").format(
                list=self._denied_list(observations), at=at
            )
        claims = [claim for each in observations for claim in at_sites(each, sites, State.ABSENT)]
        return Statement(capitalised(text), tuple(claims))

    def hedged_pair(
        self, first: Observation, second: Observation, sites: Sites, *, headed: bool = False
    ) -> Statement:
        """Leave open which of two findings it is."""
        a, b = self.nouns.bare(first, sites), self.nouns.bare(second, sites)
        at, _ = self._where.at(first, sites, headed=headed, placed=False)
        text = self._frames.one("hedged_pairs").format(a=a.text, b=b.text, at=at)
        claims = at_sites(first, sites, State.UNCERTAIN, a.text)
        claims += at_sites(second, sites, State.UNCERTAIN, b.text)
        return Statement(capitalised(text), claims)

    def joint(self, said: Sentence, sites: Sites, *, headed: bool = False) -> Statement:
        """Write a sentence of the schema's file about several findings."""
        if not any(each in said.text for each in ("{at}", "{upper}", "{lower}")) and not headed:
            sites = ()
        named = (*said.present, *said.uncertain)
        first = (
            self._writer.schema.observation((*named, *said.absent)[0])
            if (*named, *said.absent)
            else None
        )
        at, _ = self._where.at(first, sites, headed=headed, placed=False) if first else ("", "")
        text = self._placed(said.text, at, sites, first)
        # Whose severity a word is cannot be told where several findings share the sentence.
        words = text if len(named) == 1 and not said.absent else ""
        states = {State.PRESENT: said.present, State.UNCERTAIN: said.uncertain}
        states[State.ABSENT] = said.absent
        claims = [
            claim
            for state, ids in states.items()
            for each in ids
            for claim in at_sites(self._writer.schema.observation(each), sites, state, words)
        ]
        return Statement(capitalised(text), tuple(claims))

    # Words

    def _said(
        self,
        observation: Observation,
        options: Sequence[str],
        sites: Sites,
        state: State,
        *,
        headed: bool,
    ) -> Statement:
        """Write a whole sentence of the observation's wording."""
        levels = [each for each in sites if is_level(each)]
        usable = [o for o in options if len(levels) == 1 or not _names_vertebrae(o)]
        if sites and not headed:
            usable = [o for o in usable if "{at}" in o or _names_vertebrae(o)] or usable
        if not usable:
            noun = self.nouns.bare(observation, sites)
            return self._framed(_FRAMES[state], observation, noun, sites, state, headed=headed)
        template = self._chance.choice(usable)
        if "{at}" not in template and not _names_vertebrae(template) and not headed:
            sites = ()
        denied = state is State.ABSENT
        at, _ = self._where.at(observation, sites, headed=headed, noun=template, placed=not denied)
        text = self._placed(template, at, sites, observation)
        return _of(observation, sites, state, text, text)

    def _placed(self, template: str, at: str, sites: Sites, observation: Observation | None) -> str:
        upper, lower = vertebrae(sites[0]) if sites else ("", "")
        severity, side = self.nouns.described(observation, sites) if observation else ("", "")
        return template.format(at=at, upper=upper, lower=lower, severity=severity, side=side)

    def _framed(
        self,
        kind: str,
        observation: Observation,
        noun: Noun,
        sites: Sites,
        state: State,
        *,
        headed: bool,
    ) -> Statement:
        # "No mass in the left lobe" would say nothing of the rest.
        denied = state is State.ABSENT
        at, words = self._where.at(
            observation, sites, headed=headed, noun=noun.text, placed=not denied
        )
        text = filled(self._frames.one(kind), noun, at)
        return _of(observation, sites, state, text, f"{noun.text} {words}")

    def _denied_list(self, observations: Sequence[Observation]) -> str:
        nouns = [self.nouns.absent(each) for each in observations]
        return listed(nouns, "or") if len(nouns) > 1 else nouns[0]

    def _compares(self, share: float) -> bool:
        """Draw whether a sentence compares with before, of which given facts say nothing."""
        return self._chance.random() < share and self._writer.facts is None

    def _half(self) -> bool:
        return self._chance.random() < 0.5


def _of(
    observation: Observation, sites: Sites, state: State, text: str, words: str = ""
) -> Statement:
    return Statement(capitalised(text), at_sites(observation, sites, state, words))


def _noun(text: str) -> Noun:
    return Noun.of(text)


def _names_vertebrae(template: str) -> bool:
    return "{upper}" in template or "{lower}" in template
