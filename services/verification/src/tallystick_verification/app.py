"""Verification's composition root."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tallystick_chassis.service import Job, Runtime, Service, Wiring

from tallystick_verification.consumers import HANDLERS
from tallystick_verification.credentials.api import download_entry, download_proof, verify_certificate
from tallystick_verification.proofs.fetching import ProofFetcher
from tallystick_verification.settings import VerificationSettings
from tallystick_verification.state import KINDS

if TYPE_CHECKING:
    from typing import Final

FETCH_INTERVAL_S: Final = 0.5


def wire(runtime: Runtime) -> Wiring:
    """Wire routes, handlers and jobs to one running process."""
    settings: VerificationSettings = runtime.settings
    return Wiring(
        routes=(verify_certificate, download_proof, download_entry),
        handlers=HANDLERS,
        jobs=(Job("fetch-proofs", ProofFetcher(runtime, settings).step, interval_s=FETCH_INTERVAL_S),),
        state=KINDS,
    )


SERVICE = Service(name="verification", package="tallystick_verification", settings=VerificationSettings, wire=wire)
