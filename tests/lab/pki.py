"""The lab's certificates and kubeconfigs: one CA for the cluster's own parts and for the BMCs."""

from __future__ import annotations

import base64
import datetime
import ipaddress
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from lab.state import write

_LIFE = datetime.timedelta(days=365)
_SKEW = datetime.timedelta(minutes=5)


def _name(common: str, organization: str = "") -> x509.Name:
    parts = [x509.NameAttribute(NameOID.COMMON_NAME, common)]
    if organization:
        parts.insert(0, x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization))
    return x509.Name(parts)


def _private(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


@dataclass(frozen=True, slots=True)
class Identity:
    """A certificate and its key, as files."""

    certificate: Path
    key: Path


class Authority:
    """The lab's CA in *folder*; it makes itself when there is none."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.certificate = folder / "ca.crt"
        self.key = folder / "ca.key"
        if not self.certificate.exists():
            key = ec.generate_private_key(ec.SECP256R1())
            name = _name("ringfence-lab")
            builder = _certificate(name, name, key.public_key()).add_extension(
                x509.BasicConstraints(ca=True, path_length=None), critical=True
            )
            write(self.key, _private(key), 0o600)
            write(self.certificate, builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM).decode())

    def issue(
        self, file: str, common: str, organization: str = "", addresses: Sequence[str] = (), names: Sequence[str] = ()
    ) -> Identity:
        """Sign a certificate for servers and clients alike; write it to FILE.crt and FILE.key."""
        issuer = x509.load_pem_x509_certificate(self.certificate.read_bytes())
        signer = load_pem_private_key(self.key.read_bytes(), None)
        assert isinstance(signer, ec.EllipticCurvePrivateKey)
        key = ec.generate_private_key(ec.SECP256R1())
        usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
        builder = _certificate(_name(common, organization), issuer.subject, key.public_key())
        builder = builder.add_extension(usage, critical=False)
        alternatives: list[x509.GeneralName] = [x509.IPAddress(ipaddress.ip_address(a)) for a in addresses]
        alternatives += [x509.DNSName(name) for name in names]
        if alternatives:
            builder = builder.add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        identity = Identity(self.folder / f"{file}.crt", self.folder / f"{file}.key")
        write(identity.key, _private(key), 0o600)
        write(identity.certificate, builder.sign(signer, hashes.SHA256()).public_bytes(Encoding.PEM).decode())
        return identity

    def account_keys(self) -> Identity:
        """The key pair that signs service accounts' tokens (no certificate: the public key alone)."""
        pair = Identity(self.folder / "accounts.pub", self.folder / "accounts.key")
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        write(pair.key, _private(key), 0o600)
        public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        write(pair.certificate, public.decode())
        return pair

    def kubeconfig(self, file: Path, server: str, identity: Identity) -> Path:
        """Write a kubeconfig (JSON is YAML) that holds everything within itself."""
        inline = {
            "client-certificate-data": _base64(identity.certificate),
            "client-key-data": _base64(identity.key),
        }
        cluster = {"server": server, "certificate-authority-data": _base64(self.certificate)}
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "lab",
            "clusters": [{"name": "lab", "cluster": cluster}],
            "users": [{"name": "lab", "user": inline}],
            "contexts": [{"name": "lab", "context": {"cluster": "lab", "user": "lab"}}],
        }
        write(file, json.dumps(document, indent=1), 0o600)
        return file


def _certificate(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _SKEW)
        .not_valid_after(now + _LIFE)
    )


def _base64(file: Path) -> str:
    return base64.b64encode(file.read_bytes()).decode()
