"""The words of the rule labeler for each shipped schema, on sentences of our own."""

import re
from functools import cache
from importlib import resources

import pytest
import yaml

from labeling.schema_file import shipped_names, shipped_schema
from labeling.vocabulary import WHOLE, State
from tests.labeling_builders import rules_of

P, U, A = State.PRESENT, State.UNCERTAIN, State.ABSENT


@cache
def labeler(schema):
    return rules_of(shipped_schema(schema))


def said(schema, text):
    """Return what is said of the whole report, without what is not mentioned."""
    return {
        each.observation: each.state
        for each in labeler(schema).label_report(text)
        if each.site == WHOLE and each.state is not State.NOT_MENTIONED
    }


OPAQUE = dict.fromkeys(
    ["lung_opacity", "atelectasis", "consolidation", "pneumonia", "edema", "infiltration",
     "lung_lesion", "nodule", "mass"], A
)  # fmt: skip

CHEST = [
    ("The lungs are clear.", OPAQUE),
    ("The lungs are hyperexpanded but clear.", OPAQUE),
    ("No focal consolidation, pleural effusion or pneumothorax.",
     {"consolidation": A, "pleural_effusion": A, "pneumothorax": A}),
    ("The lungs are clear of focal airspace disease, pneumothorax, or pleural effusion.",
     {"lung_opacity": A, "pneumothorax": A, "pleural_effusion": A}),
    ("Heart size is normal.", {"cardiomegaly": A}),
    ("Heart size is borderline enlarged.", {"cardiomegaly": U}),
    ("The heart size is at the upper limits of normal.", {"cardiomegaly": A}),
    ("The cardiomediastinal silhouette is within normal limits.",
     {"cardiomegaly": A, "enlarged_cardiomediastinum": A}),
    ("The heart is mildly enlarged.", {"cardiomegaly": P}),
    ("Stable cardiomegaly.", {"cardiomegaly": P}),
    ("Widened mediastinum.", {"enlarged_cardiomediastinum": P}),
    ("No acute cardiopulmonary abnormality.", {"consolidation": A, "pneumonia": A, "edema": A}),
    ("No acute bony abnormalities.", {"fracture": A}),
    ("Mild compression deformity of T8.", {"fracture": P}),
    ("Low lung volumes with bibasilar atelectasis.", {"atelectasis": P}),
    ("Streaky opacities in the left base may represent atelectasis.",
     {"lung_opacity": P, "atelectasis": U}),
    ("Possible right middle lobe pneumonia.", {"pneumonia": U}),
    ("Right lower lobe infiltrate.", {"infiltration": P, "lung_opacity": P}),
    ("Chronic interstitial markings are prominent.", {"lung_opacity": P}),
    ("Blunting of the costophrenic angle.", {}),
    ("Small pericardial effusion.", {}),
    ("Calcified granuloma in the right upper lobe.", {}),
    ("No suspicious nodule or mass.", {"nodule": A, "mass": A}),
    ("Subcutaneous emphysema along the chest wall.", {}),
    ("Emphysematous changes with bullous disease.", {"emphysema": P}),
    ("Biapical pleural thickening.", {"pleural_thickening": P}),
    ("Moderate hiatal hernia.", {"hernia": P}),
    ("Known cystic fibrosis.", {}),
    ("Median sternotomy wires and surgical clips are noted.", {"support_devices": P}),
]  # fmt: skip

NEURO = [
    ("Acute infarct in the left MCA territory with restricted diffusion.", {"acute_stroke": P}),
    ("No evidence of acute infarction. No restricted diffusion.", {"acute_stroke": A}),
    ("Established right frontal infarct with surrounding gliosis.", {"encephalomalacia": P}),
    ("Mild generalised cerebral atrophy.", {"atrophy": P}),
    ("Brain volume is preserved.", {"atrophy": A}),
    ("Mild chronic small vessel ischaemic changes.", {"small_vessel_disease": P}),
    ("There is a 7 mm aneurysm of the left middle cerebral artery.", {"vascular": P}),
    ("Intracranial flow voids are preserved.", {"vascular": A}),
    ("Extra-axial mass in keeping with meningioma. No mass effect.", {"mass": P}),
    ("No intracranial mass, haemorrhage or hydrocephalus.", {"mass": A}),
    ("No acute intracranial abnormality.", {"abnormal": A}),
]

UPPER_EXTREMITY = [
    ("Displaced fracture of the middle third of the clavicle.",
     {"fracture": P, "clavicle_fracture": P}),
    ("No fracture or dislocation.", {"fracture": A, "dislocation": A}),
    ("Radial head fracture, minimally displaced, with raised anterior fat pad.",
     {"fracture": P, "radial_head_fracture": P, "elbow_effusion": P}),
    ("Possible fracture of the coronoid process.", {"fracture": U, "coronoid_fracture": U}),
    ("Status after plate osteosynthesis of the distal humerus.", {"implant": P}),
    ("Posterior dislocation of the elbow.", {"dislocation": P, "elbow_dislocation": P}),
    ("Marked osteoarthritis of the first CMC joint.",
     {"osteoarthritis": P, "thumb_base_osteoarthritis": P}),
    ("Bennett fracture of the first metacarpal.",
     {"fracture": P, "first_metacarpal_fracture": P}),
    ("Bony avulsion of the ulnar collateral ligament.",
     {"fracture": P, "ulnar_ligament_avulsion": P}),
    ("Mild AC joint arthrosis.", {"osteoarthritis": P, "ac_joint_osteoarthritis": P}),
    ("The volar plate is normal.", {}),
]  # fmt: skip

SPINE = [
    ("Compression of the conus and cauda equina at L4-L5.",
     {"stenosis": P, "cauda_equina_compression": P}),
    ("The fragment is migrating caudally.", {"herniation": P}),
    ("Possible metastatic deposit in L3.", {"cancer": U}),
    ("No marrow infiltration.", {"cancer": A}),
    ("Ligamentum flavum bulging at L4-5.", {}),
    ("Broad based disc bulge at L3-4.", {"disc_bulging": P}),
    ("Desiccated L3-L4 and L5-S1 discs.", {"disc_degeneration": P}),
    ("L4-L5: normal.", dict.fromkeys(
        ["disc_narrowing", "herniation", "stenosis", "spondylolisthesis", "disc_bulging",
         "disc_degeneration"], A)),
    ("The discs are well hydrated.", {"disc_degeneration": A}),
    ("Pfirrmann grade II at L1-L2 disc.", {"disc_degeneration": A}),
    ("Pfirrmann grade IV at L4-L5 disc.", {"disc_degeneration": P}),
]  # fmt: skip

SENTENCES = [
    *(("chest", *each) for each in CHEST),
    *(("neuro", *each) for each in NEURO),
    *(("upper_extremity", *each) for each in UPPER_EXTREMITY),
    *(("spine", *each) for each in SPINE),
]


@pytest.mark.parametrize(("schema", "sentence", "expected"), SENTENCES)
def test_a_sentence_says_what_it_says(schema, sentence, expected):
    assert said(schema, f"FINDINGS: {sentence}") == expected


@pytest.mark.parametrize(
    ("schema", "sentence", "observation", "severity", "locations"),
    [
        ("chest", "Small bilateral pleural effusions.", "pleural_effusion", "mild",
         {"bilateral", "left", "right"}),
        ("chest", "Moderate right upper lobe consolidation.", "consolidation", "moderate",
         {"right", "upper"}),
        ("chest", "Streaky left basilar opacity.", "lung_opacity", "", {"left", "base"}),
        ("spine", "Pfirrmann grade IV degeneration of the L4-L5 disc.", "disc_degeneration",
         "pfirrmann_4", set()),
        ("spine", "Grade 2 anterolisthesis of L5 on S1.", "spondylolisthesis", "meyerding_2",
         set()),
        ("spine", "Severe left foraminal stenosis at L3-L4.", "stenosis", "severe",
         {"left", "foraminal"}),
        ("neuro", "Fazekas 2 small vessel disease is seen.", "small_vessel_disease", "fazekas_2",
         set()),
        ("upper_extremity", "Undisplaced fracture of the radial head.", "radial_head_fracture",
         "undisplaced", set()),
        ("upper_extremity", "Slightly displaced fracture of the distal left clavicle.",
         "clavicle_fracture", "slightly_displaced", {"left", "distal"}),
    ],
)  # fmt: skip
def test_severity_and_place_are_read(schema, sentence, observation, severity, locations):
    results = labeler(schema).label_report(f"FINDINGS: {sentence}")
    found = next(each for each in results if (each.observation, each.site) == (observation, WHOLE))
    assert found.state is P
    assert (found.severity, set(found.locations)) == (severity, locations)


@pytest.mark.parametrize("name", shipped_names())
def test_the_words_are_for_observations_of_the_schema_and_compile(name):
    file = resources.files("labeling") / "schemas" / f"{name}.rules.yaml"
    words = yaml.safe_load(file.read_bytes())
    known = {each.id for each in shipped_schema(name).observations}
    assert set(words["observations"]) == known
    for terms in words["observations"].values():
        for pattern in (each for patterns in terms.values() for each in patterns):
            re.compile(pattern)
    assert all(len(word) >= 7 and word.isalpha() for word in words["words"])
    assert len(set(words["words"])) == len(words["words"])


@pytest.mark.parametrize("name", shipped_names())
def test_the_name_of_an_observation_is_a_word_for_it(name):
    for each in shipped_schema(name).observations:
        for word in each.synonyms:
            stated = said(name, f"FINDINGS: There is {word}.")
            assert each.id in stated, word
