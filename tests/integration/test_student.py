import csv
import json

import pytest
import torch
from typer.testing import CliRunner

from labeling.labeler import checked
from labeling.language import load_languages
from labeling.llm.model_store import ModelStore
from labeling.schema_file import parse_schema, shipped_schema
from labeling.settings import LabelingSettings
from labeling.student.distilling import distil
from labeling.student.encoder import Encoder, UnusableEncoder, stored_encoder
from labeling.student.examples import Example
from labeling.student.labeler import NOT_TRAINED, StudentLabeler
from labeling.student.packed_bert import ROWS, can_read, chunks
from labeling.student.training import CannotTrain, TrainingOptions
from labeling.student.weights_file import CONFIGURATION, WEIGHTS, InvalidStudent, read_student
from labeling.vocabulary import WHOLE, State
from plugin.cli import app
from tests.labeling_builders import setup_of
from tests.tiny_encoder import write_tiny_encoder
from tests.unit.labeling.test_schema_file import SMALL

SCHEMA = shipped_schema("spine")
LEVELS = ("L1-L2", "L2-L3", "L3-L4", "L4-L5", "L5-S1")
SENTENCES = {
    State.PRESENT: "Severe canal stenosis is seen at {level}.",
    State.UNCERTAIN: "Possible canal stenosis at {level}.",
    State.ABSENT: "No canal stenosis at {level}.",
}


def examples(count):
    """Return reports in which each state has one wording, so that a random encoder tells them."""
    made = []
    for number in range(count):
        state = list(SENTENCES)[number % 3]
        level = LEVELS[number % 5]
        said = SENTENCES[state].format(level=level)
        other = f"No evidence of herniation at {LEVELS[(number + 2) % 5]}."
        text = f"{other} {said}" if number % 2 else f"{said} {other}"
        start = text.index(said)
        allowed = {("stenosis", site): frozenset({State.NOT_MENTIONED}) for site in LEVELS}
        allowed |= {("stenosis", site): frozenset({state}) for site in (WHOLE, level)}
        spans = {("stenosis", level): ((start, start + len(said)),)}
        made.append(Example(f"p{number}", text, allowed, spans))
    return made


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    root = tmp_path_factory.mktemp("student")
    store = ModelStore(root / "store")
    store.add(write_tiny_encoder(root / "tiny"), "tiny")
    return store


def train(store, folder, made, **options):
    settings = {"epochs": 12, "batch": 12, "sizes": {"dropout": 0.0}} | options
    return distil(
        made,
        SCHEMA,
        stored_encoder(store, "tiny"),
        folder,
        TrainingOptions(**settings),
        languages=load_languages(),
        settings=LabelingSettings(language_model={"threads": 1}),
        provenance={"command": "test"},
    )


@pytest.fixture(scope="module")
def trained(store, tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained") / "student"
    result = train(store, folder, examples(240))
    store.add(folder, "small")
    return folder, result


def labeler(store, **more):
    settings = {"student": {"name": "small"}, "language_model": {"threads": 1}} | more
    return StudentLabeler(setup_of(SCHEMA, store=store.root, **settings))


@pytest.mark.usefixtures("trained")
def test_it_reads_state_level_and_evidence(store):
    student = labeler(store)
    text = "HISTORY: Severe canal stenosis is seen at L1-L2.\nFINDINGS: No evidence of herniation "
    text += "at L5-S1. Severe canal stenosis is seen at L3-L4."
    (results,) = student.label_reports([text])
    checked(results, SCHEMA, text)
    found = {r.site: r for r in results if r.observation == "stenosis"}
    assert found[WHOLE].state is State.PRESENT
    assert found["L3-L4"].state is State.PRESENT
    assert found["L1-L2"].state is State.NOT_MENTIONED
    start = text.rindex("Severe")
    assert found["L3-L4"].evidence[0] == (start, len(text))
    assert found["L3-L4"].margin > 0 > found["L1-L2"].margin
    assert found["L3-L4"].mention_margin > 0 > found["L1-L2"].mention_margin


@pytest.mark.usefixtures("trained")
def test_a_report_reads_the_same_alone_and_among_others(store):
    student = labeler(store)
    texts = [each.text for each in examples(40)] + ["\ud83d\ude00 L4-L5: no stenosis.\r\nNormal."]
    together = list(student.label_reports(texts))
    alone = [next(student.label_reports([text])) for text in texts]
    assert together == alone
    for text, results in zip(texts, together, strict=True):
        checked(results, SCHEMA, text)


@pytest.mark.usefixtures("trained")
def test_what_cannot_be_read_fails_alone(store):
    foreign = "Keine Spinalkanalstenose. Die Bandscheiben sind unauffällig und nicht verschmälert. "
    texts = ["", foreign * 3, "\x00\x01\x02" * 50, "No canal stenosis at L4-L5."]
    results = list(labeler(store).label_reports(texts))
    assert [{each.state for each in some} == {State.FAILED} for some in results] == [
        True, True, True, False,
    ]  # fmt: skip
    assert all(each.detail for some in results[:3] for each in some)


@pytest.mark.usefixtures("trained")
def test_long_reports_and_long_sentences_are_read_to_their_end(store):
    long_report = "The canal is normal.\n" * 300 + "Severe canal stenosis is seen at L5-S1."
    long_sentence = "Herniation and " * 130 + "stenosis."
    for text in (long_report, long_sentence):
        (results,) = labeler(store).label_reports([text])
        checked(results, SCHEMA, text)
        assert State.FAILED not in {each.state for each in results}


@pytest.mark.usefixtures("trained")
def test_history_counts_where_the_site_opts_in(store):
    text = "HISTORY: Severe canal stenosis is seen at L1-L2.\nFINDINGS: Normal."
    read = {
        switch: next(
            r.state
            for r in next(labeler(store, label_history=switch).label_reports([text]))
            if (r.observation, r.site) == ("stenosis", "L1-L2")
        )
        for switch in (False, True)
    }
    assert read[True] is State.PRESENT
    assert read[False] is not State.PRESENT
    assert labeler(store).prompt_digest != labeler(store, label_history=True).prompt_digest


@pytest.mark.usefixtures("trained")
def test_an_observation_it_never_learned_fails(store):
    schema = parse_schema(SMALL.replace("id: stenosis", "id: other").encode(), "s.yaml")
    setup = setup_of(schema, store=store.root, student={"name": "small"})
    (results,) = StudentLabeler(setup).label_reports(["No canal stenosis at L4-L5."])
    unknown = [r for r in results if r.observation not in {o.id for o in SCHEMA.observations}]
    assert unknown
    assert {(r.state, r.detail) for r in unknown} == {(State.FAILED, NOT_TRAINED)}


def test_the_record_says_what_it_learned_from(trained):
    folder, result = trained
    config = read_student(folder).config
    assert config.encoder == "tiny"
    assert config.provenance["learned_from"] + config.provenance["validated_on"] == 240
    assert config.provenance["examples_digest"]
    assert result["figures"]["stenosis"]["sites"]["auroc"] > 0.95
    assert "herniation" not in result["figures"]


def test_the_same_seed_gives_the_same_student(store, tmp_path):
    made = examples(30)
    first = train(store, tmp_path / "a", made, epochs=1)
    assert train(store, tmp_path / "b", made, epochs=1)["digest"] == first["digest"]
    assert train(store, tmp_path / "c", made, epochs=1, seed=2)["digest"] != first["digest"]


def test_layers_of_the_encoder_can_learn_too(store, tmp_path):
    train(store, tmp_path / "tuned", examples(40), epochs=1, tuned_layers=1)
    store.add(tmp_path / "tuned", "tuned")
    student = labeler(store, student={"name": "tuned"})
    plain = Encoder.load(store.get("tiny").path, threads=1)
    tuned = student.load()._encoder
    names = [n for n, w in plain.model.named_parameters()
             if not torch.equal(w, dict(tuned.model.named_parameters())[n])]  # fmt: skip
    assert names
    assert all("layer.1." in name for name in names)


def test_nothing_to_learn_from_is_said(store, tmp_path):
    with pytest.raises(CannotTrain):
        train(store, tmp_path / "none", [Example("p", "Stenosis.", {})])


@pytest.mark.parametrize("name", [CONFIGURATION, WEIGHTS])
def test_damaged_files_are_refused(trained, tmp_path, name):
    folder, _ = trained
    for each in (CONFIGURATION, WEIGHTS):
        (tmp_path / each).write_bytes((folder / each).read_bytes())
    (tmp_path / name).write_bytes(b"{}")
    store = ModelStore(tmp_path / "store")
    store.add(write_tiny_encoder(tmp_path / "tiny"), "tiny")
    if name == WEIGHTS:
        store.add(tmp_path, "damaged")
    with pytest.raises(InvalidStudent):
        read_student(tmp_path) if name == CONFIGURATION else _load(store, "damaged")


def _load(store, name):
    return labeler(store, student={"name": name}).load()


def test_a_folder_that_is_no_encoder_is_refused(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(UnusableEncoder):
        Encoder.load(tmp_path)


def test_the_command_trains_from_files(store, tmp_path):
    made = examples(24)
    with (tmp_path / "reports.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "report"])
        writer.writerows([each.patient, each.text] for each in made)
    rows = [
        {"id": each.patient, "labels": {"stenosis": {
            "state": str(min(each.allowed["stenosis", WHOLE])), "levels": {}, "evidence": []}}}
        for each in made
    ]  # fmt: skip
    labels = tmp_path / "labels.jsonl"
    labels.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    (tmp_path / "labels.jsonl.run.json").write_text('{"labeler": "token_scores"}', "utf-8")
    readers = tmp_path / "readers.csv"
    readers.write_text(
        "level,subject,observation,site,reader,state\nfile,p1,stenosis,whole,a,absent\n", "utf-8"
    )
    options = {"output": tmp_path / "out", "labels": labels, "reference": readers, "generated": 6,
               "reports": tmp_path / "reports.csv",
               "schema": "spine", "encoder": "tiny", "epochs": 1, "store": store.root}  # fmt: skip
    arguments = ["labeler", "distill", "--json"]
    arguments += [word for name, value in options.items() for word in (f"--{name}", str(value))]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    said = json.loads(done.stdout[done.stdout.index("{") :])
    assert said["reports_of_readers"] == 1
    assert said["learned_from"] + said["validated_on"] == 30
    record = read_student(tmp_path / "out").config.provenance
    assert record["label_sources"][0]["name"] == "labels.jsonl"
    assert record["label_sources"][0]["run"] == {"labeler": "token_scores"}
    assert record["references"]["name"] == "readers.csv"
    assert record["options"]["layers"] == [1, -1]
    again = CliRunner().invoke(app, arguments)
    assert again.exit_code != 0


def test_the_shipped_student_reads_the_same_alone_and_among_others(tmp_path):
    """Short numbers round by the shape of what is read together; no label may hang on that."""
    student = StudentLabeler(setup_of(SCHEMA, store=tmp_path / "models"))
    texts = [each.text for each in examples(12)] + ["L4-L5 disc extrusion.", "Diffuse bulge."]
    together = list(student.label_reports(texts))
    assert together == [next(student.label_reports([text])) for text in texts]
    assert together == list(student.label_reports(texts[::-1]))[::-1]


@pytest.fixture(scope="module", params=["float32", "bfloat16"])
def encoder(request, store):
    return Encoder.load(stored_encoder(store, "tiny").path, threads=1, dtype=request.param)


def sentences_of(encoder):
    words = "no evidence of severe canal stenosis is seen at l4 - l5 , and the disc is normal . "
    texts = [(words * 5)[: 7 * count] for count in range(1, 40)] * 2 + ["", "x" * 300]
    return encoder.tokenize(texts)


def plainly(encoder, sentences, layers):
    with torch.inference_mode():
        return encoder.encode_for_training(sentences, layers)


def test_packed_weights_read_as_the_library_reads(encoder):
    assert can_read(encoder.model)
    sentences = sentences_of(encoder)
    for layers in ([1, -1], [0]):
        packed = encoder.encode(sentences, layers)
        tolerance = 1e-4 if encoder.dtype == "float32" else 0.06
        for one, other in zip(packed, plainly(encoder, sentences, layers), strict=True):
            torch.testing.assert_close(one, other, atol=tolerance, rtol=tolerance)


def test_a_sentence_has_the_same_vectors_in_any_company(encoder):
    sentences = sentences_of(encoder)
    together = encoder.encode(sentences, [1, -1])
    for place in range(0, len(sentences), 7):
        assert torch.equal(encoder.encode([sentences[place]], [1, -1])[0], together[place])
    fewer = encoder.encode(sentences[::3][::-1], [1, -1])
    assert all(map(torch.equal, fewer[::-1], together[::3]))


def test_weights_that_change_are_packed_anew(store):
    encoder = Encoder.load(stored_encoder(store, "tiny").path, threads=1, dtype="float32")
    sentences = sentences_of(encoder)[:3]
    before = encoder.encode(sentences, [-1])
    own = dict(encoder.model.named_parameters())
    name = next(each for each in own if "layer.1.output.dense.weight" in each)
    encoder.replace_weights({name: own[name].detach() * 2})
    after = encoder.encode(sentences, [-1])
    assert not torch.equal(after[0], before[0])
    torch.testing.assert_close(after[0], plainly(encoder, sentences, [-1])[0])


def test_an_encoder_of_another_kind_is_read_by_the_library(encoder, monkeypatch):
    sentences = sentences_of(encoder)[:3]
    monkeypatch.setattr(encoder.model.config, "hidden_act", "relu")
    assert not can_read(encoder.model)
    found = encoder.encode(sentences, [-1], lambda rows: rows[:, :2])
    expected = plainly(encoder, sentences, [-1])
    assert all(map(torch.equal, found, (each[:, :2] for each in expected)))


@pytest.mark.parametrize("lengths", [[], [3], [256] * 5, [*range(2, 200)], [ROWS, 2, 2]])
def test_chunks_hold_each_sentence_once_and_no_more_tokens_than_rows(lengths):
    found = list(chunks(lengths))
    assert sorted(place for chunk in found for place in chunk) == list(range(len(lengths)))
    assert all(chunk and sum(lengths[place] for place in chunk) <= ROWS for chunk in found)
    read = [lengths[place] for chunk in found for place in chunk]
    assert read == sorted(lengths)
