"""What of the privacy worker's state an auditor can compare with the ledger; private keys are in another database."""

from __future__ import annotations

from typing import Final

from tallystick_chassis.state import StateKind, day_keys, people_directory

KINDS: Final = (
    StateKind(
        name="erasure_job",
        source="privacy.erasure_jobs t",
        key=(("t.id", "uuid"),),
        stream="'erasure:' || t.id",
        fields={
            "person": "t.person",
            "complete": "t.state = 'complete'",
            "irrecoverable_after": "t.irrecoverable_after",
        },
    ),
    people_directory("privacy"),
    day_keys("privacy"),
)
