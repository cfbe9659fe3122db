"""Checking the ledger's proof of a publication against what we were told and the key we pinned. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from tallystick_contracts.envelope import decode_event
from tallystick_contracts.errors import ContractError
from tallystick_contracts.generated.assessment import CredentialPublished
from tallystick_tlog import RotationError, TlogError, TlogProof, VerifierKey, follow_keys, leaf_hash, parse_entry

from tallystick_verification.credentials.domain import Evidence, Publication

if TYPE_CHECKING:
    from collections.abc import Iterable
    from uuid import UUID

_ISSUING_SERVICE = "assessment"


class ProofRefusedError(Exception):
    """What the ledger gave does not prove the publication. The message says why and quotes nothing."""


class _Line(msgspec.Struct, frozen=True):
    event: msgspec.Raw


def key_of_log(ledger_origin: str, tenant: UUID, ledger_key: bytes, rotations: Iterable[str] = ()) -> VerifierKey:
    """Return the key of the tenant's compliance log, under that log's name.

    It is the pinned 32-byte Ed25519 key, or the one that the signed rotations lead to from it.

    Raises:
        ProofRefusedError: the rotations cannot be followed.
    """
    try:
        newest = follow_keys(ledger_origin, ledger_key, rotations)
    except RotationError as error:
        message = "the ledger's key rotations cannot be followed from the pinned key"
        raise ProofRefusedError(message) from error
    return VerifierKey.ed25519(f"{ledger_origin}/{tenant}/compliance", newest)


def check_evidence(line: bytes, proof: bytes, expected: Publication, key: VerifierKey) -> Evidence:
    """Return the evidence if the proof holds under ``key`` and the line is the event that published ``expected``.

    Raises:
        ProofRefusedError: if anything differs.
    """
    try:
        entry = parse_entry(line)
        parsed = TlogProof.from_bytes(proof)
        checkpoint = parsed.verify(leaf_hash(line), [key])
        event = decode_event(bytes(msgspec.json.decode(line, type=_Line).event))
    except (TlogError, ContractError, msgspec.DecodeError) as error:
        message = f"the proof does not hold: {type(error).__name__}"
        raise ProofRefusedError(message) from error
    if entry.log != checkpoint.origin or entry.seq != parsed.index:
        message = "the line names another log or place than its proof"
        raise ProofRefusedError(message)
    if event.source != _ISSUING_SERVICE or not isinstance(event.data, CredentialPublished):
        message = "the line is another kind of event"
        raise ProofRefusedError(message)
    try:
        recorded = Publication.of(event.id, event.data)
    except ValueError as error:
        message = "the recorded event is incomplete"
        raise ProofRefusedError(message) from error
    if recorded != expected:
        message = "the ledger recorded something else than was published"
        raise ProofRefusedError(message)
    return Evidence(line=line, proof=proof, log=entry.log, entry=entry.seq, tree_size=checkpoint.size)
