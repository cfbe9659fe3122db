"""A certificate authority of this stack's own: every connection is TLS, and clients trust nothing but this."""

import datetime as dt
import ipaddress
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


def ensure_authority(layout: Layout) -> None:
    """Make the authority's key (0600) and certificate once."""
    key_file = layout.secrets / "authority.key"
    key = _load_key(durable.create_once(key_file, _private_pem(ec.generate_private_key(ec.SECP256R1()))))
    if layout.ca_file.exists():
        return
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Tallystick local authority")])
    certificate = (
        _builder(name, name, key.public_key(), _AUTHORITY_LIFE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    durable.create_once(layout.ca_file, certificate.public_bytes(serialization.Encoding.PEM), mode=durable.PUBLIC)


def ensure_server(layout: Layout, name: str) -> tuple[Path, Path]:
    """Return a loopback server's certificate and key file; a certificate about to expire is renewed."""
    certificate_file = layout.authority / f"{name}.pem"
    key_file = layout.authority / f"{name}.key"
    key = _load_key(durable.create_once(key_file, _private_pem(ec.generate_private_key(ec.SECP256R1()))))
    if certificate_file.exists():
        current = x509.load_pem_x509_certificate(certificate_file.read_bytes())
        if current.not_valid_after_utc - dt.datetime.now(dt.UTC) > _RENEW_BEFORE:
            return certificate_file, key_file
    authority = x509.load_pem_x509_certificate(layout.ca_file.read_bytes())
    authority_key = _load_key((layout.secrets / "authority.key").read_bytes())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"tallystick {name}")])
    certificate = (
        _builder(subject, authority.subject, key.public_key(), _SERVER_LIFE)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(
            x509.SubjectAlternativeName(
                [x509.DNSName("localhost"), x509.IPAddress(ipaddress.IPv4Address("127.0.0.1"))],
            ),
            critical=False,
        )
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()),
            critical=False,
        )
        .sign(authority_key, hashes.SHA256())
    )
    durable.replace(certificate_file, certificate.public_bytes(serialization.Encoding.PEM), mode=durable.PUBLIC)
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
