"""The TLS matrix: who enters and whom we talk to, with dcmtk, Orthanc, pynetdicom and bare TLS.

Both directions are tried with a good certificate, none, an expired one, one of an authority that
we do not trust, without TLS, and with TLS 1.0 and 1.1. Only the good one may get through.
"""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dicom_node.archive_settings import PacsPeer
from dicom_node.receiver import Receivers
from dicom_node.send_outcomes import Outcome
from dicom_node.settings import CallingPeer, DicomSettings
from dicom_node.storage import DicomStore
from dicom_node.storage_scu import send_instances
from dicom_node.tls import client_context, fingerprint, peer_context
from plugin.simulation.ports import free_ports
from tests.acceptance.tls_peers import (
    EXPIRED,
    GOOD,
    LOOPBACK,
    NEW_VERSIONS,
    NONE,
    OLD_VERSIONS,
    PLAIN,
    QUICK,
    WRONG_CA,
    Address,
    Cast,
    dcmtk_echo,
    library_echo,
    raw_echo,
    running_storescp,
    serving,
)
from tests.builders import mr_image, write_file
from tests.certificates import Identity
from tests.nodes import prepare_node, radloop
from tests.peers import run_program, running_orthanc

pytestmark = pytest.mark.peer

IDENTITIES = (GOOD, NONE, EXPIRED, WRONG_CA, PLAIN)
# Not authenticated by the cipher, not encrypted, without a certificate.
WEAK_CIPHERS = (
    *("ECDHE-ECDSA-AES128-SHA", "ECDHE-ECDSA-AES256-SHA384"),
    *("ECDHE-ECDSA-NULL-SHA", "AECDH-AES256-SHA"),
)
RESULTS: dict[str, bool] = {}


@pytest.fixture(scope="module")
def cast(tmp_path_factory: pytest.TempPathFactory) -> Cast:
    return Cast(tmp_path_factory.mktemp("tls"))


class Node:
    """Receivers with a plain and a TLS port."""

    def __init__(self, cast: Cast, root: Path, **settings: Any) -> None:
        self.store = DicomStore(root)
        self.store.recover()
        values = {"port": 0, "minimum_free_bytes": 0, "receiver_processes": 1}
        values |= {"tls": cast.node.settings(cast.authority).model_dump()}
        self.receivers = Receivers(DicomSettings.model_validate(values | settings), root)
        self.receivers.start()
        self.secured = self.receivers.addresses["tls"]


@pytest.fixture(scope="module")
def node(cast: Cast, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    node = Node(cast, tmp_path_factory.mktemp("node"), accept_unknown_peers=True)
    yield node
    node.receivers.stop()


@pytest.fixture(scope="module", autouse=True)
def report() -> Iterator[None]:
    yield
    width = max(map(len, RESULTS), default=0)
    print(f"\n{'direction, peer, identity':{width}}  entered")
    for name, entered in RESULTS.items():
        print(f"{name:{width}}  {'yes' if entered else 'no'}")
    wrong = [name for name, entered in RESULTS.items() if entered != (name in EXPECTED)]
    print(json.dumps({"tls_cases": len(RESULTS), "entered": sum(RESULTS.values()), "wrong": wrong}))


EXPECTED: set[str] = set()


def record(direction: str, peer: str, identity: str, entered: bool, expected: bool) -> None:
    """Keep a result for the table and hold it against what must be."""
    name = f"{direction}, {peer}, {identity}"
    RESULTS[name] = entered
    if expected:
        EXPECTED.add(name)
    assert entered == expected, name


@pytest.mark.parametrize("who", IDENTITIES)
@pytest.mark.parametrize("peer", ["bare TLS", "pynetdicom", "dcmtk echoscu"])
def test_only_a_good_certificate_enters(node: Node, cast: Cast, peer: str, who: str) -> None:
    context = None if who == PLAIN else cast.context(who)
    knock: dict[str, Callable[[], bool]] = {
        "bare TLS": lambda: raw_echo(node.secured, context),
        "pynetdicom": lambda: library_echo(node.secured, context),
        "dcmtk echoscu": lambda: dcmtk_echo(node.secured, cast.dcmtk(who)),
    }
    record("to us", peer, who, knock[peer](), expected=who == GOOD)


@pytest.mark.parametrize("version", [*OLD_VERSIONS, *NEW_VERSIONS])
def test_no_old_version_enters(node: Node, cast: Cast, version: str) -> None:
    wanted = (OLD_VERSIONS | NEW_VERSIONS)[version]
    with serving(cast.context(GOOD, server_side=True, version=wanted)) as (address, entered):
        raw_echo(address, cast.context(GOOD, version=wanted))
        assert entered() == 1, "the requestor of this test does not speak this version"
    found = raw_echo(node.secured, cast.context(GOOD, version=wanted))
    record("to us", "bare TLS", version, found, expected=version in NEW_VERSIONS)


@pytest.mark.parametrize("cipher", WEAK_CIPHERS)
def test_no_weak_cipher_suite_enters(node: Node, cast: Cast, cipher: str) -> None:
    with serving(cast.context(GOOD, server_side=True, weak_cipher=cipher)) as (address, entered):
        raw_echo(address, cast.context(GOOD, weak_cipher=cipher))
        assert entered() == 1, "the requestor of this test does not speak this cipher suite"
    found = raw_echo(node.secured, cast.context(GOOD, weak_cipher=cipher))
    record("to us", "bare TLS", cipher, found, expected=False)


def test_dcmtk_stores_by_tls(node: Node, cast: Cast, tmp_path: Path) -> None:
    before = len(node.store.spooled())
    file = write_file(tmp_path / "image.dcm", mr_image(study="TLS"))
    where = ("-aet", "SCANNER", "-aec", "RADLOOP", *map(str, node.secured), file)
    assert run_program("storescu", *cast.dcmtk(WRONG_CA), *where)[0] != 0
    assert len(node.store.spooled()) == before
    assert run_program("storescu", *cast.dcmtk(GOOD), *where)[0] == 0
    assert len(node.store.spooled()) == before + 1


@pytest.mark.parametrize("who", [GOOD, EXPIRED, WRONG_CA])
def test_orthanc_enters_with_a_good_certificate_only(
    node: Node, cast: Cast, tmp_path: Path, who: str
) -> None:
    modality = {"AET": "RADLOOP", "Host": LOOPBACK, "Port": node.secured[1], "UseDicomTls": True}
    options = {
        "DicomTlsCertificate": str(cast.identities[who].certificate),
        "DicomTlsPrivateKey": str(cast.identities[who].key),
        "DicomTlsTrustedCertificates": str(cast.authority.certificate),
        "DicomModalities": {"node": modality},
    }
    with running_orthanc(tmp_path / "orthanc", **options) as orthanc:
        record("to us", "Orthanc", who, orthanc.verifies("node"), expected=who == GOOD)


def test_the_certificate_binds_an_ae_title(cast: Cast, tmp_path: Path) -> None:
    expected = fingerprint(cast.identities[GOOD].der)
    peers = (CallingPeer(ae_title="SCANNER", certificates=(expected,)).model_dump(),)
    node = Node(cast, tmp_path, peers=peers, plain=False)
    try:
        assert node.receivers.address == node.secured
        assert raw_echo(node.secured, cast.context(GOOD))
        assert not raw_echo(node.secured, cast.context_of(cast.node))
    finally:
        node.receivers.stop()


def test_a_node_behind_tls_alone_is_reached_by_its_own_commands(cast: Cast, tmp_path: Path) -> None:
    tls = cast.node.settings(cast.authority, free_ports(1)[0])
    made = prepare_node(
        tmp_path / "node",
        f"[dicom.tls]\nport = {tls.port}\ncertificate = '{tls.certificate}'\n"
        f"key = '{tls.key}'\nauthorities = '{tls.authorities}'\n",
    )
    text = made.config.read_text(encoding="utf-8")
    made.config.write_text(
        text.replace("accept_unknown_peers", "plain = false\naccept_unknown_peers", 1),
        encoding="utf-8",
    )
    image = write_file(tmp_path / "image.dcm", mr_image(study="OWN"))
    try:
        made.start()
        config = ("--config", str(made.config))
        assert f"answers on port {tls.port}" in radloop("echo", *config).stdout
        assert "1 files sent and accepted, 0 not" in radloop("send", str(image), *config).stdout
        assert not raw_echo((LOOPBACK, made.ports.dicom), None)
    finally:
        made.stop()


def delivers(cast: Cast, address: Address, folder: Path, us: Identity | None = None) -> bool:
    """Send an image as the node does; tell whether it was delivered."""
    folder.mkdir(exist_ok=True)
    file = write_file(folder / "image.dcm", mr_image(study="OUT"))
    peer = PacsPeer(ae_title=address.ae_title, host=LOOPBACK, port=address.port, tls=True)
    tls = peer_context(peer, (us or cast.node).settings(cast.authority))
    (result,) = send_instances(peer, "NODE", [file], QUICK, tls)
    assert result.outcome in (Outcome.DELIVERED, Outcome.TRANSIENT)
    return result.delivered


@pytest.mark.parametrize("who", [GOOD, EXPIRED, WRONG_CA, PLAIN])
def test_we_send_to_a_good_certificate_only(cast: Cast, tmp_path: Path, who: str) -> None:
    with running_storescp(tmp_path / "dcmtk", cast.dcmtk(who)) as address:
        found = delivers(cast, address, tmp_path / "out")
        assert bool(list((tmp_path / "dcmtk").glob("MR*"))) == found
    record("from us", "dcmtk storescp", who, found, expected=who == GOOD)


@pytest.mark.parametrize("who", [GOOD, EXPIRED, WRONG_CA, PLAIN])
def test_we_send_to_an_orthanc_with_a_good_certificate_only(
    cast: Cast, tmp_path: Path, who: str
) -> None:
    options = {} if who == PLAIN else cast.orthanc(cast.identities[who])
    with running_orthanc(tmp_path / "orthanc", DicomAlwaysAllowStore=True, **options) as orthanc:
        address = Address(orthanc.port, orthanc.ae_title)
        found = delivers(cast, address, tmp_path / "out")
        assert orthanc.holdings().instances == int(found)
        record("from us", "Orthanc", who, found, expected=who == GOOD)
        if who == GOOD:
            foreign = delivers(cast, address, tmp_path / "out", cast.identities[WRONG_CA])
            record("from us", "Orthanc", "we are foreign", foreign, expected=False)


def test_we_send_to_nobody_without_a_certificate(cast: Cast) -> None:
    anonymous = cast.context(NONE, server_side=True, weak_cipher="AECDH-AES256-SHA")
    with serving(anonymous) as (address, entered):
        raw_echo(address, cast.context(NONE, weak_cipher="AECDH-AES256-SHA"))
        assert entered() == 1, "the acceptor of this test does not do without a certificate"
        library_echo(address, client_context(cast.node.settings(cast.authority)))
        found = entered() == 2
    record("from us", "bare TLS", NONE, found, expected=False)


@pytest.mark.parametrize("version", [*OLD_VERSIONS, *NEW_VERSIONS])
def test_we_speak_no_old_version(cast: Cast, version: str) -> None:
    wanted = (OLD_VERSIONS | NEW_VERSIONS)[version]
    server = cast.context(GOOD, server_side=True, version=wanted)
    with serving(server) as (address, entered):
        raw_echo(address, cast.context(GOOD, version=wanted))
        assert entered() == 1, "the acceptor of this test does not speak this version"
        context = client_context(cast.node.settings(cast.authority))
        library_echo(address, context)
        found = entered() == 2
    record("from us", "bare TLS", version, found, expected=version in NEW_VERSIONS)


def test_we_check_the_host_name_and_the_pinned_certificate(cast: Cast) -> None:
    tls = cast.node.settings(cast.authority)
    own = fingerprint(cast.identities[GOOD].der)
    with serving(cast.context(GOOD, server_side=True)) as (address, entered):
        library_echo(address, client_context(tls, certificates=["0" * 64]))
        assert entered() == 0
        library_echo(address, client_context(tls, certificates=[own]))
        assert entered() == 1
    with serving(cast.context_of(cast.elsewhere, server_side=True)) as (address, entered):
        library_echo(address, client_context(tls))
        assert entered() == 0
        library_echo(address, client_context(tls, check_host_name=False))
        assert entered() == 1
