"""Files that a process is given, looked at before anything depends on them: a wrong one is named by its setting."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

from joserfc.errors import JoseError

from tallystick_chassis.clock import utc_now
from tallystick_chassis.http.tokens import TokenVerifier
from tallystick_chassis.settings import MigrateSettings, Settings, SettingsError

if TYPE_CHECKING:
    from pathlib import Path


def check_files(settings: Settings | MigrateSettings) -> None:
    """Read the certificates, the listener's key and the public session keys once; a migration has authorities only.

    Raises:
        SettingsError: naming every file that is not what it should be, and nothing of what is in it.
    """
    problems = []
    if not _are_authorities(settings.ca_file):
        problems.append("setting TALLY_CA_FILE is invalid: not a file of certificates (PEM)")
    if isinstance(settings, Settings):
        if not _is_pair(settings.tls_cert_file, settings.tls_key_file):
            said = "not a certificate (PEM) whose private key is in TALLY_TLS_KEY_FILE"
            problems.append(f"setting TALLY_TLS_CERT_FILE is invalid: {said}")
        if settings.session_jwks_file is not None and not _are_session_keys(settings.session_jwks_file):
            problems.append("setting TALLY_SESSION_JWKS_FILE is invalid: not a JWKS of Ed25519 keys")
    if problems:
        raise SettingsError(problems)


def _are_authorities(file: Path) -> bool:
    try:
        ssl.create_default_context(cafile=file)
    except OSError:  # ssl's own errors are such
        return False
    return True


def _is_pair(certificate: Path, key: Path) -> bool:
    try:
        # An empty passphrase, so that a key that wants one is refused rather than asked about on a terminal.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, "")
    except OSError:
        return False
    return True


def _are_session_keys(file: Path) -> bool:
    try:
        TokenVerifier(file.read_bytes(), clock=utc_now)
    except (OSError, ValueError, JoseError):
        return False
    return True
