"""A tiny random model learns from generated reports, and its adapter is used by the labelers."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from importlib import resources
from pathlib import Path

import pytest
import torch

from labeling.adaptation.adapting import LEARNED, Task, adapt_model, generated
from labeling.adaptation.checkpoint import UnusableCheckpoint
from labeling.adaptation.judging import margins
from labeling.adaptation.lessons import Course, Lesson, Truth, token_scores
from labeling.adaptation.low_rank import LowRankLinear, adapt, parameters
from labeling.adaptation.rows import Row, Rows
from labeling.adaptation.training import Options
from labeling.labeler import LabelerSetup, LabelResult
from labeling.language import load_languages
from labeling.llm.adapter_choice import beginning, enter
from labeling.llm.adapter_file import Adapter, UnusableAdapter, matrices, put_on, read_adapter
from labeling.llm.attention import plain_attention
from labeling.llm.chat import ChatFormat
from labeling.llm.model_store import ModelStore
from labeling.llm.network import Network, load
from labeling.llm.transformers_model import TransformersModel
from labeling.schema_file import schema_of
from labeling.settings import LabelingSettings, LanguageModelSettings, TokenScoreSettings
from labeling.synthesis.generator import generate
from labeling.thresholds import Threshold, Thresholds
from labeling.token_scores.asking import Enquiry, ask
from labeling.token_scores.labeler import TokenScoreLabeler
from labeling.token_scores.prompt import Prompts
from labeling.tree.labeler import TreeLabeler
from labeling.vocabulary import WHOLE, State
from plugin.adaptation import AdaptationJob
from plugin.adaptation import adapt as run
from tests.tiny_models import write_model

OBSERVATIONS = ("stenosis", "cancer")
OPTIONS = Options(
    minutes=10.0,
    steps=4,
    rank=2,
    rate=0.02,
    reports=2,
    questions=6,
    judgements=1,
    judged_reports=2,
    final_reports=4,
)
REPORT = "FINDINGS: Severe canal stenosis at L4-L5. No bone metastases."


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> ModelStore:
    folder = tmp_path_factory.mktemp("models")
    store = ModelStore(folder / "store")
    store.add(write_model(folder / "tiny"), "tiny")
    return store


def settings(adapter: str = "auto", *, two_step: bool = False) -> LabelingSettings:
    return LabelingSettings(
        schema_name="spine",
        observations=OBSERVATIONS,
        language_model=LanguageModelSettings(name="tiny", adapter=adapter, threads=1),
        token_scores=TokenScoreSettings(evidence=False, levels=False, two_step=two_step),
    )


def task(store: ModelStore, tree: float = 0.0) -> Task:
    given = settings()
    base = store.get("tiny")
    return Task("spine", schema_of(given), base, load_languages(), given, tree=tree)


def silent(_: str) -> None:
    pass


@pytest.fixture(scope="module")
def adapter(store: ModelStore, tmp_path_factory: pytest.TempPathFactory) -> Adapter:
    return adapt_model(task(store, 0.4), tmp_path_factory.mktemp("adapter"), OPTIONS, silent)


@pytest.fixture
def own_store(store: ModelStore, adapter: Adapter, tmp_path: Path) -> ModelStore:
    """A store with the model and its adapter."""
    own = ModelStore(tmp_path / "own")
    own.add(store.get("tiny").path, "tiny")
    enter(own, adapter)
    return own


def setup(store: ModelStore, given: LabelingSettings) -> LabelerSetup:
    return LabelerSetup(schema_of(given), given, store)


def test_a_low_rank_layer_computes_and_learns_as_if_its_product_were_spelled_out() -> None:
    torch.manual_seed(0)
    weight, bias = torch.randn(5, 4), torch.randn(5)
    layer = LowRankLinear(weight, bias, 2, 0.5, torch.float32)
    with torch.no_grad():
        layer.up.normal_()
    states = torch.randn(2, 3, 4, requires_grad=True)
    layer(states).pow(2).sum().backward()
    given = [each.detach().clone().requires_grad_() for each in (states, layer.down, layer.up)]
    plain = given[0] @ (weight + 0.5 * given[2] @ given[1]).T + bias
    plain.pow(2).sum().backward()
    for mine, other in zip((states, layer.down, layer.up), given, strict=True):
        torch.testing.assert_close(mine.grad, other.grad)


def test_a_low_rank_layer_notices_that_its_matrices_were_changed_in_place() -> None:
    torch.manual_seed(0)
    layer = LowRankLinear(torch.randn(5, 4), None, 2, 1.0, torch.float32)
    states = torch.randn(3, 4)
    before = layer(states).detach()
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    layer(states).pow(2).sum().backward()
    optimizer.step()
    assert not torch.equal(layer(states), before)


def test_plain_attention_is_attention() -> None:
    torch.manual_seed(0)
    query, key, value = torch.randn(2, 4, 5, 8), torch.randn(2, 2, 5, 8), torch.randn(2, 2, 5, 8)
    mask = torch.zeros(2, 1, 5, 5).masked_fill_(~torch.ones(5, 5).tril().bool(), -1e9)
    found, _ = plain_attention(torch.nn.Identity(), query, key, value, mask, scaling=0.3)
    wanted = torch.nn.functional.scaled_dot_product_attention(
        query, key, value, attn_mask=mask, scale=0.3, enable_gqa=True
    )
    torch.testing.assert_close(found, wanted.transpose(1, 2))
    for unknown in ({"softcap": 30.0}, {"position_bias": mask}):
        with pytest.raises(ValueError, match="do not know"):
            plain_attention(torch.nn.Identity(), query, key, value, mask, **unknown)
    with pytest.raises(ValueError, match="do not know"):
        plain_attention(torch.nn.Identity(), query, key, value, None)


def test_an_adapter_says_what_it_is_and_how_it_was_made(adapter: Adapter) -> None:
    told = read_adapter(adapter.weights.with_suffix(".json")).description
    assert told == adapter.description
    assert (told.schema, told.base, told.rank) == ("spine", "tiny", 2)
    assert set(told.questions) == {LEARNED, "tree"}
    assert told.questions[LEARNED]["en"].keys() == set(OBSERVATIONS)
    assert told.training["steps"] == 4
    assert (told.figures["split"], told.figures["reports"]) == ("test", OPTIONS.final_reports)
    folder = adapter.weights.parent
    assert (folder / "curve.png").read_bytes().startswith(b"\x89PNG")
    assert len(json.loads((folder / "figures.json").read_text())["losses"]) == 4


def test_a_model_learns_what_generated_reports_say(store: ModelStore, tmp_path: Path) -> None:
    options = replace(OPTIONS, steps=30, short=0.0, excerpts=0.0, interfered=0.0)
    adapt_model(task(store), tmp_path, options, silent)
    losses = json.loads((tmp_path / "figures.json").read_text())["losses"]
    assert sum(losses[-10:]) < sum(losses[:10])


def test_the_number_of_cores_changes_nothing(store: ModelStore, tmp_path: Path) -> None:
    losses = []
    for threads in (1, 3):
        model = LanguageModelSettings(name="tiny", threads=threads)
        given = replace(
            task(store), settings=settings().model_copy(update={"language_model": model})
        )
        (folder := tmp_path / str(threads)).mkdir()
        adapt_model(given, folder, replace(OPTIONS, reports=4, tokens=1), silent)
        losses.append(json.loads((folder / "figures.json").read_text())["losses"])
    assert losses[0] == losses[1]


def test_questions_are_judged_alike_in_one_row_or_in_several(store: ModelStore) -> None:
    model, tokenizer = load(store.get("tiny").path, "float32")
    network, rows = Network(model), Rows(ChatFormat(tokenizer), 2048)
    schema = schema_of(settings())
    course = token_scores(schema, load_languages().packs["en"], LEARNED)
    (report,) = generate(schema_of(LabelingSettings(schema_name="spine")), 1, seed=4, split="test")
    states = {place: said for place, said in report.states.items() if place[0] in OBSERVATIONS}
    truth = Truth(report.text, states)
    asked = list(course.lessons(truth, 0.6))
    (together,) = margins(network, [_row(rows, course, truth, asked)], 512)
    parts = margins(
        network, [_row(rows, course, truth, each) for each in (asked[:5], asked[5:])], 512
    )
    assert len(together) > 10
    assert parts[0] | parts[1] == pytest.approx(together, abs=1e-4)


def _row(rows: Rows, course: Course, truth: Truth, lessons: list[Lesson]) -> Row:
    row = rows.row(course, truth, lessons)
    assert row is not None
    return row


def test_an_adapter_is_judged_again_without_learning(
    store: ModelStore, adapter: Adapter, tmp_path: Path
) -> None:
    given = replace(task(store), begun_from=adapter)
    again = adapt_model(given, tmp_path, replace(OPTIONS, steps=0, minutes=0.0), silent)
    told = again.description
    assert told.training["steps"] == told.training["reports"] == 0
    assert told.weights_sha256 == adapter.description.weights_sha256
    assert told.figures["reports"] == OPTIONS.final_reports


@pytest.mark.parametrize(
    ("band", "state"), [([-99.0, -98.0], "present"), ([-99.0, 99.0], "uncertain")]
)
def test_the_band_of_an_adapter_decides_until_thresholds_are_fitted(
    own_store: ModelStore, band: list[float], state: str
) -> None:
    described = own_store.root / ".adapters" / "spine.json"
    told = json.loads(described.read_text()) | {"band": {"whole": band}}
    described.write_text(json.dumps(told))
    given = replace(setup(own_store, settings()), evidence=False)
    assert _stenosis(given).state is State(state)
    fitted = Thresholds({"stenosis": Threshold(98.0, 99.0, fitted_on=9, mention_cut=-99.0)})
    assert _stenosis(replace(given, thresholds=fitted)).state is State.ABSENT


def _stenosis(given: LabelerSetup) -> LabelResult:
    results = TokenScoreLabeler(given).label_report(REPORT)
    return next(e for e in results if (e.observation, e.site) == ("stenosis", WHOLE))


def test_what_is_asked_alone_is_learned_without_what_its_children_say(store: ModelStore) -> None:
    chest = LabelingSettings(schema_name="chest")
    given = replace(task(store), schema=schema_of(chest), settings=chest)
    raised = consolidated = 0
    whole = generate(schema_of(chest), 300, seed=2, split="train")
    for plain, learned in zip(whole, generated(given, 2, "train"), strict=False):
        assert plain.text == learned.text
        own = plain.own.get(("consolidation", WHOLE), plain.states["consolidation", WHOLE])
        raised += own is not plain.states["consolidation", WHOLE]
        consolidated += own is State.PRESENT
        assert learned.states["consolidation", WHOLE] is own
        for name in ("lung_opacity", "pneumonia"):
            assert learned.states[name, WHOLE] is plain.states[name, WHOLE]
    assert raised > 3
    assert consolidated > 3


def test_short_reports_come_first(store: ModelStore, tmp_path: Path) -> None:
    drawn = {}
    for short in (0.0, 0.5, 1.0):
        (folder := tmp_path / str(short)).mkdir()
        options = replace(OPTIONS, short=short, shorts=0.0, short_length=200)
        drawn[short] = adapt_model(task(store), folder, options, silent).description.training
    assert drawn[0.0]["reports"] == OPTIONS.steps * OPTIONS.reports
    assert drawn[0.0]["reports"] < drawn[0.5]["reports"] < drawn[1.0]["reports"]


def test_short_reports_come_again_later(store: ModelStore, tmp_path: Path) -> None:
    read: dict[float, int] = {}
    for share in (0.0, 1.0):
        options = replace(OPTIONS, short=0.0, shorts=share, short_length=200)
        (folder := tmp_path / str(share)).mkdir()
        adapter = adapt_model(task(store), folder, options, silent)
        read[share] = adapter.description.training["reports"]
    assert read[0.0] == OPTIONS.steps * OPTIONS.reports < read[1.0]  # the long ones were passed by


def test_a_schema_without_short_reports_is_learned_all_the_same(
    store: ModelStore, tmp_path: Path
) -> None:
    options = replace(OPTIONS, steps=1, short=0.0, shorts=1.0, short_length=1)
    read = adapt_model(task(store), tmp_path, options, silent).description.training
    assert read["steps"] == 1


def test_a_training_that_was_killed_ends_as_if_it_had_not_been(
    store: ModelStore, adapter: Adapter, tmp_path: Path
) -> None:
    class KilledError(Exception):
        pass

    def kill(line: str) -> None:
        if line.startswith("step 2,"):
            raise KilledError

    seconds = itertools.count(0, 61)  # a checkpoint after each step
    with pytest.raises(KilledError):
        adapt_model(task(store, 0.4), tmp_path, OPTIONS, kill, clock=lambda: next(seconds))
    with pytest.raises(UnusableCheckpoint, match="other options"):
        adapt_model(task(store, 0.4), tmp_path, replace(OPTIONS, seed=2), silent)
    other_words = tmp_path / "words.yaml"
    shipped = resources.files("labeling") / "synthesis" / "wording" / "en" / "spine.yaml"
    other_words.write_bytes(shipped.read_bytes() + b"\n# changed since\n")
    reworded = replace(task(store, 0.4), wording=other_words)
    with pytest.raises(UnusableCheckpoint, match="other options"):
        adapt_model(reworded, tmp_path, OPTIONS, silent)
    # The clock above counts as time of learning, so the rate differs; what was read does not.
    again = adapt_model(task(store, 0.4), tmp_path, OPTIONS, silent)
    assert again.description.data_digest == adapter.description.data_digest
    assert again.description.training["steps"] == 4


def test_labelers_ask_an_adapted_model_what_it_learned(
    own_store: ModelStore, adapter: Adapter
) -> None:
    labeler = TokenScoreLabeler(setup(own_store, settings()))
    plain = TokenScoreLabeler(setup(own_store, settings("none")))
    assert (labeler.kind, plain.kind) == (LEARNED, "token_scores")
    assert labeler.model_digest == adapter.description.digest
    assert plain.model_digest == own_store.get("tiny").sha256
    assert labeler.prompt_digest != plain.prompt_digest
    results = {(each.observation, each.site): each for each in labeler.label_report(REPORT)}
    assert results["stenosis", WHOLE].state is not State.FAILED
    assert TreeLabeler(setup(own_store, settings())).model_digest == labeler.model_digest


def test_the_labeler_gives_the_margins_that_the_adapted_network_gives(
    own_store: ModelStore, adapter: Adapter
) -> None:
    base = own_store.get("tiny")
    opened = TransformersModel.load(base.path).adapted(adapter)
    merged, _ = load(base.path, "float32")
    spelled, tokenizer = load(base.path, "float32")
    put_on(merged, adapter)
    adapt(spelled, adapter.description.rank, adapter.description.scale, torch.float32)
    from safetensors.torch import load_file

    with torch.no_grad():
        values = load_file(adapter.weights)
        for name, parameter in parameters(spelled).items():
            parameter.copy_(values[name])
    schema, pack = schema_of(settings()), load_languages().packs["en"]
    enquiry = Enquiry(Prompts(schema, pack, LEARNED), REPORT, (("stenosis", WHOLE),))
    from labeling.llm.chat import ChatFormat

    own = TransformersModel(Network(spelled), ChatFormat(tokenizer), name="", digest="")
    (one,), (other,) = ask(opened, [enquiry], 1), ask(own, [enquiry], 1)
    key = ("stenosis", WHOLE)
    assert one[key].margin == pytest.approx(other[key].margin, abs=1e-3)
    unadapted = TransformersModel.load(base.path)
    assert abs(ask(unadapted, [enquiry], 1)[0][key].margin - one[key].margin) > 1e-3


def test_an_adapter_for_other_questions_is_refused_by_name_and_left_by_auto(
    own_store: ModelStore,
) -> None:
    other = settings().model_copy(update={"schema_name": "chest", "observations": ("edema",)})
    auto = TokenScoreLabeler(setup(own_store, other))
    assert (auto.kind, auto.model_digest) == ("token_scores", own_store.get("tiny").sha256)
    named = other.model_copy(update={"language_model": settings("spine").language_model})
    with pytest.raises(UnusableAdapter, match="other questions than are asked"):
        TokenScoreLabeler(setup(own_store, named))


def test_what_an_adapter_does_not_fit_is_refused_by_name(
    own_store: ModelStore, tmp_path: Path
) -> None:
    with pytest.raises(UnusableAdapter, match="no adapter named 'none-such'"):
        TokenScoreLabeler(setup(own_store, settings("none-such")))
    with pytest.raises(UnusableAdapter, match="summary"):
        TokenScoreLabeler(setup(own_store, settings("spine", two_step=True)))
    assert TokenScoreLabeler(setup(own_store, settings(two_step=True))).kind == "token_scores"
    own_store.add(write_model(tmp_path / "wide", num_hidden_layers=2), "wide")
    wide = settings("spine").model_copy(
        update={"language_model": LanguageModelSettings(name="wide", adapter="spine")}
    )
    with pytest.raises(UnusableAdapter, match="made for another model"):
        TokenScoreLabeler(setup(own_store, wide))


def test_matrices_that_were_changed_are_not_put_on(own_store: ModelStore) -> None:
    described = own_store.root / ".adapters" / "spine.json"
    weights = described.with_suffix(".safetensors")
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")
    with pytest.raises(UnusableAdapter, match="changed"):
        TransformersModel.load(own_store.get("tiny").path).adapted(read_adapter(described))


def well_read(adapter: Adapter, name: str, folder: Path) -> Adapter:
    """Return a copy under another name that says it has read much more, in two trainings."""
    told = json.loads(adapter.weights.with_suffix(".json").read_text("utf-8"))
    before = {"training": {**told["training"], "reports": 10**6}}
    told |= {"name": name, "training": {**told["training"], "reports": 1, "begun_from": before}}
    (folder / f"{name}.json").write_text(json.dumps(told), encoding="utf-8")
    (folder / f"{name}.safetensors").write_bytes(adapter.weights.read_bytes())
    return read_adapter(folder / f"{name}.json")


def test_what_one_schema_taught_serves_the_next(own_store: ModelStore, adapter: Adapter) -> None:
    sha256 = own_store.get("tiny").sha256
    assert beginning("auto", own_store, sha256, "chest", 2) == read_adapter(
        own_store.root / ".adapters" / "spine.json"
    )
    enter(own_store, well_read(adapter, "another", own_store.root))
    assert beginning("auto", own_store, sha256, "chest", 2).description.name == "another"
    assert beginning("auto", own_store, sha256, "spine", 2).description.name == "another"
    (own_store.root / ".adapters" / "another.json").unlink()
    assert beginning("none", own_store, sha256, "chest", 2) is None
    assert beginning("auto", own_store, sha256, "chest", 3) is None
    with pytest.raises(UnusableAdapter, match="rank"):
        beginning("spine", own_store, sha256, "chest", 3)
    begun = replace(task(own_store), begun_from=adapter)
    folder = own_store.root / "work"
    folder.mkdir()
    learned = adapt_model(begun, folder, replace(OPTIONS, rate=1e-9), silent)
    assert learned.description.training["begun_from"]["digest"] == adapter.description.digest
    before, after = matrices(adapter), matrices(learned)
    assert all(torch.allclose(before[name], after[name], atol=1e-3) for name in before)


def test_the_command_learns_in_a_child_and_enters_the_adapter(
    own_store: ModelStore, tmp_path: Path
) -> None:
    options = {"minutes": 5.0, "steps": 1, "reports": 2, "judgements": 1, "rank": 2,
               "judged_reports": 1, "final_reports": 2}  # fmt: skip
    job = AdaptationJob(
        "mine", tmp_path / "work", settings(), own_store.root, None, options, 0.0, "none"
    )
    lines: list[str] = []
    result = run(job, lines.append)
    assert (result["adapter"], result["steps"]) == ("mine", 1)
    assert result["peak_memory_mb"] > 0
    assert any(line.startswith("step 1, loss") for line in lines)
    told = read_adapter(own_store.root / ".adapters" / "mine.json").description
    assert told.training["command"] == (
        "radloop llm adapt --schema=spine --base=tiny --minutes=5.0 --steps=1 --rank=2 "
        "--tree=0.0 --begin=none"
    )
    labeler = TokenScoreLabeler(setup(own_store, settings("mine")))
    assert labeler.model_digest == told.digest == result["digest"]
