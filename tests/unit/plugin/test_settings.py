import re
from pathlib import Path

import pytest

from dicom_node.errors import InvalidSettings
from plugin.settings import API_KEY_VARIABLE, load_settings
from plugin.settings_template import render

REPOSITORY = Path(__file__).parents[3]

TWICE = "[[dicom.peers]]\nae_title = 'A'\n{}\n[[dicom.peers]]\nae_title = 'A '\n{}\n"


def write(folder: Path, text: str) -> Path:
    path = folder / "radloop.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_rendered_settings_load_and_carry_the_ports(tmp_path: Path) -> None:
    path = write(tmp_path, render(ae_title="NODE", dicom_port=1, hl7_port=2, http_port=3))
    settings = load_settings(path)
    assert (settings.dicom.ae_title, settings.dicom.port) == ("NODE", 1)
    assert (settings.hl7.port, settings.console.port) == (2, 3)
    assert settings.data_folder == tmp_path / "data"


def test_commented_examples_load_when_uncommented(tmp_path: Path) -> None:
    lines = []
    for line in render().splitlines():
        stripped = line.removeprefix("# ")
        is_example = line.startswith("# ") and (stripped.startswith("[") or " = " in stripped)
        lines.append(stripped if is_example else line)
    settings = load_settings(write(tmp_path, "\n".join(lines)))
    assert settings.pacs[0].name == "research"
    assert settings.prediction[0].model == "lumbar-discs"
    assert settings.dicom.peers[0].ae_title == "MR1"
    assert settings.hl7.feeds[0].sender == "RIS|HOSPITAL"


def test_the_example_file_is_what_init_writes() -> None:
    assert (REPOSITORY / "deploy/example.toml").read_text(encoding="utf-8") == render()


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[dicom]\nportt = 1", "unknown key dicom.portt"),
        ("[dicm]\nport = 1", "unknown key dicm"),
        ("[dicom]\nport = 70000", "dicom.port"),
        ("[[pacs]]\nname = 'a'", "pacs.0: an archive needs ae_title"),
        ("[reporting]\npeer = 'nowhere'", "reporting.peer"),
        ("[console]\nhost = '0.0.0.0'", "console.host"),
        ("[labeling]\nautomatic = 'nonsense'", "labeling.automatic"),
        ("[hl7]\nport = 11112", "must differ"),
        ("[dicom]\nhost = '0.0.0.0'\naccept_unknown_peers = true", "loopback only"),
        ("[dicom]\nplain = false", "nothing would be listened on"),
        ("[dicom]\nae_title = '  '", "dicom.ae_title"),
        ("[dicom.tls]\ncertificate = 'a.pem'\nkey = 'a.key'", "dicom.tls.authorities"),
        ("[[pacs]]\nae_title = 'A'\nport = 1\ntls = true", "needs [dicom.tls]"),
        ("[[pacs]]\nae_title = 'A'\nport = 1\ncertificates = ['" + "0" * 64 + "']", "tls = true"),
        ("[[dicom.peers]]\nae_title = 'A'\nnetworks = ['10.0.0.1/8']", "host bits"),
        ("[[dicom.peers]]\nae_title = 'A'\ncertificates = ['00:11']", "64 hexadecimal"),
        (TWICE.format("host = '10.0.0.1'", ""), "lets everybody use the title"),
        (
            TWICE.format("issuer_of_patient_id = 'N'", "issuer_of_patient_id = 'S'"),
            "different issuers",
        ),
        ("not toml", "cannot be read as TOML"),
    ],
)
def test_a_bad_setting_is_refused_by_name(tmp_path: Path, text: str, named: str) -> None:
    with pytest.raises(InvalidSettings, match=re.escape(named)):
        load_settings(write(tmp_path, text))


def test_files_of_tls_stand_beside_the_settings(tmp_path: Path) -> None:
    text = (
        "[dicom]\nplain = false\n[dicom.tls]\ncertificate = 'a.pem'\nkey = '/k'\nauthorities = 'c'"
    )
    tls = load_settings(write(tmp_path, text)).dicom.tls
    assert tls is not None
    assert (tls.certificate, tls.key) == (tmp_path / "a.pem", Path("/k"))
    assert tls.authorities == tmp_path / "c"


def test_a_missing_file_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(InvalidSettings, match="radloop init"):
        load_settings(tmp_path / "radloop.toml")


def test_the_key_of_a_model_server_comes_from_the_environment_alone(tmp_path, monkeypatch):
    path = tmp_path / "radloop.toml"
    path.write_text(render(), encoding="utf-8")
    monkeypatch.setenv(API_KEY_VARIABLE, "hush")
    settings = load_settings(path)
    assert settings.labeling.language_model.api_key.get_secret_value() == "hush"
    assert "hush" not in repr(settings)
    assert settings.labeling.for_child()["language_model"]["api_key"] == "hush"
    path.write_text('[labeling.language_model]\napi_key = "hush"\n', encoding="utf-8")
    with pytest.raises(InvalidSettings, match=API_KEY_VARIABLE) as caught:
        load_settings(path)
    assert "hush" not in str(caught.value)


def test_a_sites_own_schema_and_packs_lie_beside_the_settings(tmp_path):
    path = tmp_path / "radloop.toml"
    path.write_text(
        '[labeling]\nschema_file = "knee.yaml"\nlanguage_packs = ["packs/de"]\n', encoding="utf-8"
    )
    labeling = load_settings(path).labeling
    assert labeling.schema_file == str(tmp_path / "knee.yaml")
    assert labeling.language_packs == (str(tmp_path / "packs" / "de"),)
