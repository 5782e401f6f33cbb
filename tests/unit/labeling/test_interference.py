"""Words that speak to the reader, in some of the reports that a model learns from."""

import random
import re
from importlib import resources

import yaml

from labeling.adaptation.interference import Interference
from tests.injected_text import read_attacks

REPORT = "FINDINGS: Disc bulge at L4-L5.\nNo stenosis."
DRAWN = [Interference(["stenosis"]).put_into(REPORT, random.Random(n)) for n in range(400)]


def words_of(text):
    return re.findall(r"\w+", text.lower())


def test_the_report_stays_whole_word_by_word_and_in_order():
    for text in DRAWN:
        assert text != REPORT
        left = iter(words_of(text))
        assert all(word in left for word in words_of(REPORT))


def test_it_stands_in_every_kind_of_place_and_asks_for_both_answers():
    assert any(text.startswith("FINDINGS: Disc bulge at L4-L5.\nNo stenosis.") for text in DRAWN)
    assert any(text.split("\n")[0] == "FINDINGS: Disc bulge at L4-L5." for text in DRAWN)
    assert any(not text.startswith("FINDINGS") for text in DRAWN)
    assert any("{" in text for text in DRAWN)
    assert not any(re.search(r"\{(answer|state|other|finding)", text) for text in DRAWN)
    assert sum("yes" in words_of(text) for text in DRAWN) > 40
    assert sum("no" in words_of(text)[1:] for text in DRAWN) > 40


def test_no_attack_by_which_labelers_are_tried_is_learned():
    learned = yaml.safe_load(
        (resources.files("labeling.adaptation") / "interference.yaml").read_text("utf-8")
    )
    ours = {" ".join(words_of(each)) for own in learned["sentences"].values() for each in own}
    tried = {
        " ".join(words_of(a.text)) for half in ("tuned", "held_out") for a in read_attacks(half)
    }
    assert not ours & tried
