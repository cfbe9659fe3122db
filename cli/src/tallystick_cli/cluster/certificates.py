"""An authority of the installation's own and its servers' certificates, where nothing better gives them."""

import datetime as dt
from collections.abc import MutableMapping, Sequence
from typing import TYPE_CHECKING

from cryptography import x509

from tallystick_cli.stack import authority

if TYPE_CHECKING:
    from tallystick_cli.cluster.credentials import Held

_RENEW_BEFORE = dt.timedelta(days=120)
"""A certificate is looked at whenever the chart is installed or upgraded, which is seldom."""


def ensure_authority(held: "Held") -> None:
    """Make the authority's key and certificate, once."""
    if not held.data.get("tls.crt"):
        held.data["tls.key"] = authority.make_key()
        held.data["tls.crt"] = authority.make_authority(held.data["tls.key"], "Tallystick installation authority")


def ensure_server(issuer: MutableMapping[str, bytes], held: "Held", name: str, names: Sequence[str]) -> None:
    """Make a server's certificate, or renew one that ends soon, names too little, or is another authority's."""
    issued_by = authority.Certificate(issuer["tls.crt"], issuer["tls.key"])
    if held.data.get("tls.crt") and held.data.get("ca.crt") == issued_by.certificate and _is_good(held, names):
        return
    held.data.setdefault("tls.key", authority.make_key())
    alternatives = [x509.DNSName(each) for each in names]
    held.data["tls.crt"] = authority.make_server(issued_by, held.data["tls.key"], name, alternatives)
    held.data["ca.crt"] = issued_by.certificate


def _is_good(held: "Held", names: Sequence[str]) -> bool:
    current = x509.load_pem_x509_certificate(held.data["tls.crt"])
    named = current.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    in_time = current.not_valid_after_utc - dt.datetime.now(dt.UTC) > _RENEW_BEFORE
    return in_time and set(names) <= set(named.get_values_for_type(x509.DNSName))
