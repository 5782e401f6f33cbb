import ast
import subprocess
import sys
import tomllib
import zipfile
from functools import cache
from importlib.metadata import version
from pathlib import Path

import pytest

from plugin.reporting import SOFTWARE_VERSION

REPOSITORY = Path(__file__).parents[2]
PACKAGES = ("dicom_node", "labeling", "training", "plugin")

# Each library has one door; a new door is a decision, not an accident.
DOORS = {
    "pynetdicom": {
        "dicom_node/negotiation.py",
        "dicom_node/requestor.py",
        "plugin/simulation/pacs.py",
        "plugin/simulation/retrieval.py",
    },
    "hl7apy": {"dicom_node/hl7/building.py"},
    "highdicom": {"dicom_node/sr/building.py"},
    "transformers": {
        "labeling/llm/attention.py",
        "labeling/llm/forest.py",
        "labeling/llm/network.py",
        "labeling/student/encoder.py",
    },
    "llama_cpp": {"labeling/llm/llama_cpp_model.py"},
    "llguidance": {"labeling/llm/grammar.py", "labeling/llm/json_text.py"},
    "py3langid": {"labeling/language_detection.py"},
    "monai": {
        "training/architectures/common.py",
        "training/architectures/disc_grading.py",
        "training/architectures/multi_type.py",
        "training/architectures/resnet50_multilabel.py",
        "training/architectures/volume3d.py",
        "training/classifier.py",
        "training/trainer.py",
    },
}


@cache
def imports_of(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {each.name.split(".")[0] for each in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.split(".")[0])
    return found


@pytest.mark.parametrize("library", DOORS)
def test_each_library_has_its_door(library: str) -> None:
    users = {
        str(path.relative_to(REPOSITORY))
        for package in PACKAGES
        for path in (REPOSITORY / package).rglob("*.py")
        if library in imports_of(path)
    }
    assert users
    assert users <= DOORS[library]


def test_the_command_line_stays_light() -> None:
    code = (
        "import sys, plugin.cli; "
        "print([m for m in ('torch', 'transformers', 'monai', 'highdicom', 'sklearn') "
        "if m in sys.modules])"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=REPOSITORY
    )
    assert answer.stdout.strip() == "[]"


def test_the_wheel_holds_the_four_packages_alone(tmp_path: Path) -> None:
    code = f"from setuptools import build_meta; build_meta.build_wheel({str(tmp_path)!r})"
    copy = tmp_path / "source"
    files = subprocess.run(
        [
            "git",
            "ls-files",
            "--cached",
            "--others",
            "--exclude-standard",
            *PACKAGES,
            "pyproject.toml",
            "README.md",
            "LICENSE",
        ],
        capture_output=True,
        text=True,
        check=True,
        cwd=REPOSITORY,
    ).stdout.split()
    for name in files:
        if (REPOSITORY / name).exists():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            (copy / name).write_bytes((REPOSITORY / name).read_bytes())
    subprocess.run([sys.executable, "-c", code], check=True, cwd=copy, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    inside = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in inside if ".dist-info/" not in name}
    assert tops == set(PACKAGES)
    modules = {name for name in files if name.endswith(".py")}
    assert modules <= set(inside)
    assert "labeling/schemas/spine.yaml" in inside
    assert "plugin/console/status.html" in inside


def test_versions_agree() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert SOFTWARE_VERSION == project["version"] == version("radloop")


def test_every_dependency_is_pinned() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for requirement in (*project["dependencies"], *project["optional-dependencies"]["dev"]):
        assert "==" in requirement
