import hashlib
import json
import os
import zipfile

import pytest

from labeling.llm.model_files import RefusedModel
from labeling.llm.model_store import EMBEDDED_SHA256, ModelStore, UnusableModel

GGUF = b"GGUF" + bytes(range(256)) * 20


@pytest.fixture
def store(tmp_path):
    return ModelStore(tmp_path / "models")


@pytest.fixture
def gguf(tmp_path):
    file = tmp_path / "some model.gguf"
    file.write_bytes(GGUF)
    return file


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "hf"
    path.mkdir()
    (path / "config.json").write_text('{"model_type": "llama"}')
    (path / "model.safetensors").write_bytes(b"weights")
    (path / "tokenizer.json").write_text("{}")
    (path / "README.md").write_text("left behind")
    return path


def wheel(path, members):
    with zipfile.ZipFile(path, "w") as file:
        for name, content in members.items():
            file.writestr(name, content)
    return path


def test_a_gguf_file_enters_by_digest(store, gguf):
    stored = store.add(gguf, "small")
    assert stored.sha256 == hashlib.sha256(GGUF).hexdigest()
    assert stored.path.read_bytes() == GGUF
    assert ModelStore(store.root).get("small") == stored
    entry = json.loads((store.root / "manifest.json").read_text())["models"]["small"]
    assert (entry["origin"], entry["size"]) == ("some model.gguf", len(GGUF))
    assert store.root.stat().st_mode & 0o777 == 0o700
    assert not list(store.root.glob(".adding-*"))


def test_adding_twice_changes_nothing_and_a_taken_name_is_refused(store, gguf):
    assert store.add(gguf, "small") == store.add(gguf, "small")
    gguf.write_bytes(GGUF + b"x")
    with pytest.raises(UnusableModel, match="taken"):
        store.add(gguf, "small")


def test_a_changed_file_is_noticed(store, gguf):
    stored = store.add(gguf, "small")
    stored.path.write_bytes(GGUF[:-1] + b"x")
    with pytest.raises(UnusableModel, match="changed"):
        store.get("small")


def test_expected_digests_are_enforced(store, gguf):
    with pytest.raises(UnusableModel, match="expected"):
        store.add(gguf, "small", sha256="0" * 64)
    assert store.names() == []
    store.add(gguf, "small")
    with pytest.raises(UnusableModel, match="settings"):
        store.get("small", sha256="0" * 64)


def test_a_folder_enters_without_its_other_files(store, folder):
    stored = store.add(folder, "hf")
    assert sorted(p.name for p in stored.path.iterdir()) == [
        "config.json",
        "model.safetensors",
        "tokenizer.json",
    ]
    (stored.path / "config.json").write_text("{}")
    with pytest.raises(UnusableModel, match=r"config\.json"):
        store.get("hf")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("pytorch_model.bin", "x"),
        ("weights.pt", "x"),
        ("modeling_llama.py", "x"),
        ("config.json", '{"auto_map": {"AutoModel": "m.M"}}'),
        ("tokenizer_config.json", '{"auto_map": {}}'),
        ("generation_config.json", '{"trust_remote_code": true}'),
        ("extra.json", "{"),
    ],
)
def test_a_folder_that_could_run_code_is_refused(store, folder, name, content):
    (folder / name).write_text(content)
    with pytest.raises(RefusedModel):
        store.add(folder, "hf")
    assert store.names() == []


def test_links_are_refused(store, folder, gguf, tmp_path):
    (folder / "more.json").symlink_to("/etc/passwd")
    with pytest.raises(RefusedModel, match="symbolic link"):
        store.add(folder, "hf")
    link = tmp_path / "link.gguf"
    link.symlink_to(gguf)
    with pytest.raises(RefusedModel, match="symbolic link"):
        store.add(link, "linked")


def test_of_a_wheel_only_the_model_is_unpacked(store, tmp_path):
    path = wheel(tmp_path / "m.whl", {"m/__init__.py": "raise SystemExit", "m/a.gguf": GGUF})
    stored = store.add(path, "wheel")
    assert stored.path.read_bytes() == GGUF
    assert [p.name for p in (store.root / "wheel").iterdir()] == ["model.gguf"]


def test_of_a_wheel_safetensors_are_taken_too(store, tmp_path):
    members = {"m/__init__.py": "", "m/w/config.json": "{}", "m/w/model.safetensors": b"w"}
    stored = store.add(wheel(tmp_path / "m.whl", members), "wheel")
    assert sorted(p.name for p in stored.path.iterdir()) == ["config.json", "model.safetensors"]


@pytest.mark.parametrize(
    "members",
    [
        {"../a.gguf": GGUF},
        {"/a.gguf": GGUF},
        {"m/..\\a.gguf": GGUF},
        {"m/a.gguf": b"PK not a model"},
        {"m/a.gguf": GGUF, "m/b.gguf": GGUF},
        {"m/a.py": b""},
        {"w/config.json": "{}", "w/model.safetensors": b"", "w/pytorch_model.bin": b""},
    ],
)
def test_unsafe_or_unclear_wheels_are_refused(store, tmp_path, members):
    with pytest.raises(RefusedModel):
        store.add(wheel(tmp_path / "m.whl", members), "wheel")
    assert store.names() == []


def test_a_wheel_member_that_is_a_link_is_refused(store, tmp_path):
    info = zipfile.ZipInfo("m/a.gguf")
    info.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "m.whl", "w") as file:
        file.writestr(info, "/etc/passwd")
    with pytest.raises(RefusedModel, match="symbolic link"):
        store.add(tmp_path / "m.whl", "wheel")


@pytest.mark.parametrize("name", ["", "../x", "A", "a/b", ".hidden", "manifest.json", "x" * 65])
def test_names_are_plain(store, gguf, name):
    with pytest.raises(UnusableModel, match="not usable"):
        store.add(gguf, name)


@pytest.mark.parametrize("name", ["other.txt", "not.whl", "missing.gguf"])
def test_other_files_are_refused(store, tmp_path, name):
    if name != "missing.gguf":
        (tmp_path / name).write_text("x")
    with pytest.raises(RefusedModel):
        store.add(tmp_path / name, "x")


def test_unknown_names_and_a_broken_manifest(store):
    with pytest.raises(UnusableModel, match="no model named"):
        store.get("none")
    store.root.mkdir()
    (store.root / "manifest.json").write_text("[]")
    with pytest.raises(UnusableModel, match="manifest"):
        store.names()


def test_what_a_crash_left_does_not_block_the_name(store, gguf):
    store.root.mkdir()
    os.makedirs(store.root / "small" / "rest")
    assert store.add(gguf, "small").path.read_bytes() == GGUF


def test_the_embedded_model_has_a_pinned_digest():
    assert len(bytes.fromhex(EMBEDDED_SHA256)) == 32
