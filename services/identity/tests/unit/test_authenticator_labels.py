"""What an authenticator app calls an entry: enough to tell several apart, and no more than fits its form."""

from __future__ import annotations

from urllib.parse import parse_qs, unquote, urlsplit

import pyotp
import pytest
from tallystick_identity.factors.domain import provisioning_uri

SEED = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"


@pytest.mark.parametrize(
    ("issuer", "account", "label"),
    [
        ("Acme Academy", "ada@acme.example", "Acme Academy:ada@acme.example"),
        ("Acme: Examinations", "ada@acme.example", "Acme Examinations:ada@acme.example"),
        ("Prüfungsamt & Söhne?", "jörg@prüfung.example", "Prüfungsamt & Söhne?:jörg@prüfung.example"),
        ("", "", "Tallystick:account"),
        ("x" * 200, "ada@acme.example", "x" * 60 + ":ada@acme.example"),
    ],
)
def test_the_label_names_the_organisation_and_the_persons_own_account(issuer: str, account: str, label: str) -> None:
    uri = provisioning_uri(SEED, issuer=issuer, account=account)
    assert unquote(urlsplit(uri).path) == "/" + label
    assert parse_qs(urlsplit(uri).query) == {"secret": [SEED], "issuer": [label.partition(":")[0]]}
    read = pyotp.parse_uri(uri)
    assert isinstance(read, pyotp.TOTP)
    assert (read.issuer, read.name) == tuple(label.split(":"))
