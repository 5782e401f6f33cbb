"""Certificates for tests, made by the openssl program when they are needed and thrown away."""

from __future__ import annotations

import ssl
import subprocess
from dataclasses import dataclass
from pathlib import Path

from dicom_node.settings import TlsSettings
from tests.peers import find_program

_REQUEST = """\
[req]
distinguished_name = name
[name]
[authority]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
[node]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = {usage}
subjectAltName = {names}
subjectKeyIdentifier = hash
"""
BOTH_ROLES = "serverAuth, clientAuth"


@dataclass(frozen=True)
class Identity:
    """A certificate and its key as PEM files."""

    certificate: Path
    key: Path

    @property
    def der(self) -> bytes:
        """The certificate in its binary form."""
        return ssl.PEM_cert_to_DER_cert(self.certificate.read_text(encoding="ascii"))

    def settings(self, authorities: Identity, port: int = 0, **values: str) -> TlsSettings:
        """Return settings that show this identity and trust what an authority issues."""
        return TlsSettings(
            port=port,
            certificate=self.certificate,
            key=self.key,
            authorities=authorities.certificate,
            key_password_variable=values.get("key_password_variable", ""),
        )


class CertificateOffice:
    """Makes certificates in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._serial = 0

    def authority(self, name: str) -> Identity:
        """Make a certificate authority."""
        made = self._new(name)
        self._openssl(
            *("req", "-x509", "-new", "-key", made.key, "-out", made.certificate),
            *("-subj", f"/CN={name}", "-days", "30", "-config", self._config(name)),
            *("-extensions", "authority"),
        )
        return made

    def issue(
        self,
        authority: Identity,
        name: str,
        *,
        names: str = "DNS:localhost, IP:127.0.0.1",
        usage: str = BOTH_ROLES,
        days: int = 30,
    ) -> Identity:
        """Make a certificate that ``authority`` has signed; negative days: it expired long ago."""
        made = self._new(name)
        request = self._folder / f"{name}.csr"
        config = self._config(name, names=names, usage=usage)
        self._openssl(
            *("req", "-new", "-key", made.key, "-out", request, "-subj", f"/CN={name}"),
            *("-config", config),
        )
        self._serial += 1
        self._openssl(
            *("x509", "-req", "-in", request, "-out", made.certificate, "-days", str(days)),
            *("-CA", authority.certificate, "-CAkey", authority.key),
            *("-set_serial", str(self._serial), "-extfile", config, "-extensions", "node"),
        )
        return made

    def encrypt_key(self, identity: Identity, password: str) -> Identity:
        """Return the identity with its key under a password."""
        key = identity.key.with_suffix(".encrypted")
        self._openssl(
            "pkey", "-in", identity.key, "-aes256", "-passout", f"pass:{password}", "-out", key
        )
        return Identity(identity.certificate, key)

    def _new(self, name: str) -> Identity:
        key = self._folder / f"{name}.key"
        self._openssl(
            "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", key
        )
        return Identity(self._folder / f"{name}.pem", key)

    def _config(self, name: str, names: str = "DNS:unused", usage: str = BOTH_ROLES) -> Path:
        path = self._folder / f"{name}.cnf"
        path.write_text(_REQUEST.format(names=names, usage=usage), encoding="ascii")
        return path

    def _openssl(self, *arguments: str | Path) -> None:
        subprocess.run(
            [find_program("openssl"), *map(str, arguments)],
            check=True,
            capture_output=True,
            timeout=60,
        )
