import math

import pytest

from labeling.token_scores.evidence import (
    MAXIMUM_SENTENCES,
    Case,
    Excerpt,
    find_evidence,
)

KEY = ("herniation", "whole")
OTHER = ("stenosis", "L4-L5")


class Reader:
    """A model whose margin is a sum of weights; ``strongest``: the greatest weight counts once."""

    def __init__(self, weights, *, base=-3.0, strongest=False):
        self.weights, self.base, self.strongest = weights, base, strongest
        self.excerpts = []
        self.rounds = 0

    def margin(self, case, key, sentences):
        given = [self.weights[case][key].get(each, 0.0) for each in sentences] or [0.0]
        return self.base + (max(given) if self.strongest else math.fsum(given))

    def whole(self, case, count):
        return {key: self.margin(case, key, range(count)) for key in self.weights[case]}

    def __call__(self, excerpts):
        self.rounds += 1
        self.excerpts += excerpts
        return [self._one(each) for each in excerpts]

    def _one(self, excerpt: Excerpt):
        count = self.counts[excerpt.case]
        kept = excerpt.sentences if excerpt.alone else set(range(count)) - excerpt.sentences
        return {key: self.margin(excerpt.case, key, kept) for key in excerpt.keys}


def search(reader, *counts, floor=0.0):
    reader.counts = counts
    cases = []
    for number, count in enumerate(counts):
        margins = reader.whole(number, count)
        cases.append(Case(count, margins, dict.fromkeys(margins, floor)))
    return find_evidence(cases, reader)


def test_the_sentence_without_which_the_label_falls_is_its_evidence():
    reader = Reader([{KEY: {2: 6.0}, OTHER: {0: 5.0}}])
    assert search(reader, 4) == [{KEY: (2,), OTHER: (0,)}]
    # Labels share a reading of nothing and of each sentence; each is taken away by itself.
    assert len(reader.excerpts) == 1 + 4 + 2


def test_sentences_that_say_the_same_are_found_by_removing_both():
    reader = Reader([{KEY: {1: 8.0, 3: 7.5}}], strongest=True)
    assert search(reader, 5) == [{KEY: (1, 3)}]


def test_several_sentences_may_carry_a_label_the_strongest_first():
    reader = Reader([{KEY: {0: 3.0, 3: 4.0, 2: 1.0}}])
    assert search(reader, 5) == [{KEY: (3, 0)}]  # one that gains little beside it is not named


def test_a_habit_of_the_model_has_no_evidence():
    assert search(Reader([{KEY: {0: 0.1}}], base=5.0), 3) == [{KEY: ()}]


def test_a_small_loss_that_makes_the_label_fall_is_evidence_and_a_gain_is_not():
    assert search(Reader([{KEY: {1: 0.2}}], base=-0.1), 2) == [{KEY: (1,)}]
    assert search(Reader([{KEY: {0: -0.2, 1: -0.3}}], base=0.9), 2) == [{KEY: ()}]


def test_a_report_of_one_sentence_is_read_without_it():
    reader = Reader([{KEY: {0: 9.0}}])
    assert search(reader, 1) == [{KEY: (0,)}]


def test_nothing_is_asked_where_nothing_is_wanted():
    reader = Reader([{}])
    assert search(reader, 40) == [{}]
    assert find_evidence([], reader) == []
    assert reader.rounds == 0


@pytest.mark.parametrize("count", [9, 48, 49, 100, 700, 3000])
def test_a_long_report_is_narrowed_down_and_the_work_is_bounded(count):
    at = count * 2 // 3
    reader = Reader([{KEY: {at: 7.0}}])
    assert search(reader, count) == [{KEY: (at,)}]
    alone = [each for each in reader.excerpts if each.alone]
    assert len(alone) <= 48 * 4
    assert len(reader.excerpts) - len(alone) == 1
    assert sum(len(each.sentences) for each in alone) <= 2 * count + 48 * 8


def test_many_reports_search_at_the_same_time():
    weights = [{KEY: {number: 5.0}} for number in range(6)]
    together = Reader(weights)
    found = search(together, *[7] * 6)
    assert found == [{KEY: (number,)} for number in range(6)]
    assert together.rounds == 3  # of nothing, of sentences alone, and without some


def test_all_that_repeat_it_are_taken_away_and_only_some_are_named():
    reader = Reader([{KEY: dict.fromkeys(range(8), 2.0)}], strongest=True, base=0.0)
    ((found),) = [each[KEY] for each in search(reader, 9)]
    assert len(found) == MAXIMUM_SENTENCES
    taken = [each.sentences for each in reader.excerpts if not each.alone]
    assert taken == [frozenset(range(8))]


def test_a_site_is_sought_where_the_whole_label_may_stand():
    at = ("herniation", "L4-L5")
    reader = Reader([{KEY: {1: 6.0, 4: 5.0}, at: {4: 5.0}}])
    assert search(reader, 30) == [{KEY: (1, 4), at: (4,)}]
    asked = [each.sentences for each in reader.excerpts if each.alone and at in each.keys]
    assert asked == [frozenset(), frozenset({1}), frozenset({4})]


def test_a_label_that_two_sentences_carry_together_is_found_by_taking_away_all_that_gain():
    reader = Reader([{KEY: {1: 2.0, 2: 2.0}}])
    assert search(reader, 4) == [{KEY: (1, 2)}]
    assert [each.sentences for each in reader.excerpts if not each.alone] == [{1, 2}]


class Given(Reader):
    """A model whose margin is any function of the sentences that it is given."""

    def __init__(self, margins):
        super().__init__([dict.fromkeys(margins)])
        self.margins = margins

    def margin(self, case, key, sentences):
        return self.margins[key](frozenset(sentences))


@pytest.mark.parametrize("count", [3, 6, 12, 13, 40, 700])
def test_what_is_said_of_any_words_at_all_is_a_habit(count):
    reader = Given({KEY: lambda given: 5.0 if given else -3.0})
    assert search(reader, count) == [{KEY: ()}]


def test_sentences_that_gain_alone_and_are_not_missed_carry_nothing():
    reader = Given({KEY: lambda given: 1.0 if len(given) != 1 else -1.0 + 2.0 * (given == {2})})
    assert search(reader, 5, floor=3.0) == [{KEY: ()}]


@pytest.mark.parametrize("count", [5, 30, 200])
def test_what_no_sentence_says_by_itself_is_found_by_taking_parts_away(count):
    reader = Given({KEY: lambda given: 3.0 if {2, 3} <= given else -3.0})
    assert search(reader, count) in ([{KEY: (2,)}], [{KEY: (3,)}])


def test_one_that_says_it_again_less_clearly_hides_nothing():
    def saturated(given):
        return min(5.0, -3.0 + 8.0 * (1 in given) + 7.8 * (3 in given) - 4.0 * (given == {3}))

    reader = Given({KEY: saturated})
    assert search(reader, 6, floor=-4.0) == [{KEY: (1,)}]


def test_one_site_may_be_said_less_clearly_than_another():
    first, second = ("stenosis", "L4-L5"), ("stenosis", "L2-L3")
    whole = ("stenosis", "whole")
    for weak in (3.0, 2.0, 0.1):
        weights = {whole: {1: 8.0, 3: weak}, first: {1: 6.0}, second: {3: 4.0}}
        found = search(Reader([weights]), 6)
        assert found == [{whole: (1,), first: (1,), second: (3,)}]


def test_more_sites_than_sentences_are_looked_at_closely_are_found_each():
    whole = ("stenosis", "whole")
    sites = {("stenosis", f"site {n}"): {n: 5.0} for n in range(20)}
    reader = Reader([{whole: {n: 6.0 + n / 100 for n in range(20)}, **sites}], strongest=True)
    (found,) = search(reader, 24)
    assert {key: found[key] for key in sites} == {key: (min(at),) for key, at in sites.items()}


def test_a_site_cannot_count_where_the_whole_label_is_a_habit():
    at = ("herniation", "L4-L5")
    reader = Given({KEY: lambda _: 5.0, at: lambda given: 4.0 if 1 in given else -3.0})
    assert search(reader, 6) == [{KEY: (), at: ()}]


def test_a_site_that_no_sentence_gains_for_is_judged_by_taking_some_away():
    at = ("herniation", "L4-L5")
    reader = Reader([{KEY: {4: 6.0}, at: {4: 0.1}}], base=0.0)
    assert search(reader, 30) == [{KEY: (4,), at: ()}]


def test_where_an_empty_report_is_asked_otherwise_sites_are_judged_by_taking_away_too():
    at = ("herniation", "L4-L5")
    carried = {KEY: lambda given: 4.0 if 1 in given else -3.0}
    steady = {at: lambda given: 2.0 - 0.6 * (not given)}
    reader = Given(carried | steady)
    reader.counts = (5,)
    case = Case(5, {KEY: 4.0, at: 2.0}, {KEY: 0.0, at: 0.0}, comparable=False)
    assert find_evidence([case], reader) == [{KEY: (1,), at: ()}]
