"""A certificate authority of this stack's own: every connection is TLS, and clients trust nothing but this."""

import datetime as dt
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from tallystick_cli.stack import durable
from tallystick_cli.stack.layout import Layout

_AUTHORITY_LIFE = dt.timedelta(days=3650)
_SERVER_LIFE = dt.timedelta(days=397)  # what browsers accept
_RENEW_BEFORE = dt.timedelta(days=30)
_BACKDATED = dt.timedelta(hours=1)  # clocks of neighbours
_LOOPBACK_NAMES = (x509.DNSName("localhost"), x509.IPAddress(ipaddress.IPv4Address("127.0.0.1")))


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate and its private key, both PEM."""

    certificate: bytes
    key: bytes


def make_key() -> bytes:
    """Make a private P-256 key, PEM."""
    return _private_pem(ec.generate_private_key(ec.SECP256R1()))


def make_authority(key_pem: bytes, name: str = "Tallystick local authority") -> bytes:
    """Return the self-signed certificate of an authority, PEM."""
    key = _load_key(key_pem)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    certificate = (
        _builder(subject, subject, key.public_key(), _AUTHORITY_LIFE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    return certificate.public_bytes(serialization.Encoding.PEM)


def make_server(
    authority: Certificate, key_pem: bytes, name: str, alternative_names: Sequence[x509.GeneralName]
) -> bytes:
    """Return a server's certificate, PEM, good for 397 days."""
    issuer = x509.load_pem_x509_certificate(authority.certificate)
    issuer_key, key = _load_key(authority.key), _load_key(key_pem)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"tallystick {name}")])
    certificate = (
        _builder(subject, issuer.subject, key.public_key(), _SERVER_LIFE)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName(alternative_names), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()),
            critical=False,
        )
        .sign(issuer_key, hashes.SHA256())
    )
    return certificate.public_bytes(serialization.Encoding.PEM)


def ensure_authority(layout: Layout) -> None:
    """Make the authority's key (0600) and certificate once."""
    key = durable.create_once(layout.secrets / "authority.key", make_key())
    if not layout.ca_file.exists():
        durable.create_once(layout.ca_file, make_authority(key), mode=durable.PUBLIC)


def ensure_server(layout: Layout, name: str) -> tuple[Path, Path]:
    """Return a loopback server's certificate and key file; a certificate about to expire is renewed."""
    certificate_file = layout.authority / f"{name}.pem"
    key_file = layout.authority / f"{name}.key"
    key = durable.create_once(key_file, make_key())
    if certificate_file.exists():
        current = x509.load_pem_x509_certificate(certificate_file.read_bytes())
        if current.not_valid_after_utc - dt.datetime.now(dt.UTC) > _RENEW_BEFORE:
            return certificate_file, key_file
    authority = Certificate(layout.ca_file.read_bytes(), (layout.secrets / "authority.key").read_bytes())
    certificate = make_server(authority, key, name, _LOOPBACK_NAMES)
    durable.replace(certificate_file, certificate, mode=durable.PUBLIC)
    return certificate_file, key_file


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey,
    life: dt.timedelta,
) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATED)
        .not_valid_after(now + life)
    )


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _private_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def _load_key(pem: bytes) -> ec.EllipticCurvePrivateKey:
    key = serialization.load_pem_private_key(pem, password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        msg = "the local authority uses P-256 keys only"
        raise TypeError(msg)
    return key
