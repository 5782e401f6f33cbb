"""The example of a schema of one's own is usable, with its words and its phrasings."""

from itertools import islice
from pathlib import Path

import pytest
from pydicom.sr._concepts_dict import concepts

from labeling.labeler import LabelerSetup
from labeling.llm.model_store import ModelStore
from labeling.rules.labeler import RuleLabeler
from labeling.schema_file import load_schema
from labeling.schema_words import languages_of
from labeling.settings import LabelingSettings
from labeling.synthesis.generator import generate
from labeling.synthesis.wording_file import load_wording
from labeling.vocabulary import WHOLE, State

EXAMPLES = Path(__file__).parents[3] / "deploy" / "examples"
FILE = EXAMPLES / "knee.yaml"
WORDING = EXAMPLES / "knee-wording.yaml"
KNEE = load_schema(FILE)
IN_PS3_16 = {
    (scheme, value)
    for scheme, by_keyword in concepts.items()
    for by_value in by_keyword.values()
    for value in by_value
}


def test_four_findings_two_of_them_at_sites() -> None:
    assert {each.id: len(each.sites) for each in KNEE.observations} == {
        "meniscal_tear": 2,
        "acl_tear": 0,
        "cartilage_lesion": 3,
        "effusion": 0,
    }


def test_codes_are_confirmed_private_or_marked() -> None:
    codes = [KNEE.procedure, *(each.code for each in (*KNEE.sites, *KNEE.observations))]
    for code in codes:
        if not code.scheme.startswith("99"):
            assert ((code.scheme, code.value) in IN_PS3_16) is not code.unconfirmed, code


def test_every_finding_and_step_is_worded_for_both_splits() -> None:
    wording = load_wording(KNEE, path=WORDING).own
    for each in KNEE.observations:
        own = wording.observations[each.id]
        for said in (own.present, own.absent, own.says, own.denies, own.hedges):
            assert said.train, each.id
            assert said.test, each.id


@pytest.mark.parametrize("split", ["train", "test"])
def test_every_finding_is_present_and_not_in_generated_reports(split) -> None:
    reports = list(islice(generate(KNEE, 60, seed=1, split=split, wording=WORDING), 60))
    for each in KNEE.observations:
        for site in (WHOLE, *each.sites):
            present = [r.states[each.id, site] is State.PRESENT for r in reports]
            assert 0 < sum(present) < len(present), (each.id, site)


@pytest.mark.parametrize(
    ("sentence", "place", "state"),
    [
        ("Horizontal tear of the posterior horn of the medial meniscus.",
         ("meniscal_tear", "medial_meniscus"), State.PRESENT),
        ("Possible tear of the lateral meniscus.",
         ("meniscal_tear", "lateral_meniscus"), State.UNCERTAIN),
        ("Both menisci are intact.", ("meniscal_tear", WHOLE), State.ABSENT),
        ("Complete rupture of the ACL.", ("acl_tear", WHOLE), State.PRESENT),
        ("The anterior cruciate ligament is intact.", ("acl_tear", WHOLE), State.ABSENT),
        ("Tear of the posterior cruciate ligament.", ("acl_tear", WHOLE), State.NOT_MENTIONED),
        ("Cartilage thinning in the patellofemoral compartment.",
         ("cartilage_lesion", "patellofemoral_compartment"), State.PRESENT),
        ("Cartilage is preserved.", ("cartilage_lesion", WHOLE), State.ABSENT),
        ("Large joint effusion.", ("effusion", WHOLE), State.PRESENT),
        ("No joint effusion.", ("effusion", WHOLE), State.ABSENT),
    ],
)  # fmt: skip
def test_the_rules_read_the_findings(sentence, place, state) -> None:
    settings = LabelingSettings(schema_file=str(FILE))
    languages = languages_of(settings)
    labeler = RuleLabeler(
        LabelerSetup(KNEE, settings, ModelStore(Path("/nonexistent")), languages=languages)
    )
    [found] = [
        each
        for each in labeler.label_report(f"FINDINGS: {sentence}")
        if (each.observation, each.site) == place
    ]
    assert found.state is state
