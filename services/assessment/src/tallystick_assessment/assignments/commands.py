"""Issuing assignments to people, and taking one back."""

from collections.abc import Sequence
from uuid import UUID

import msgspec
from tallystick_chassis.http.problems import NotFound
from tallystick_chassis.ids import OrgUnitId, PersonRef, new_id
from tallystick_chassis.transaction import EventDraft, Transaction
from tallystick_contracts.generated.assessment import AssignmentIssued
from tallystick_contracts.generated.assessment import AssignmentRevoked as AssignmentRevokedEvent

from tallystick_assessment.assignments import store
from tallystick_assessment.cipher import Cipher
from tallystick_assessment.evaluations.commands import release_evaluation
from tallystick_assessment.evaluations.store import units_with_paper
from tallystick_assessment.reach import reaches
from tallystick_assessment.refusals import AssignmentStarted, Fault, PeopleUnknown


class IssuedAssignment(msgspec.Struct, frozen=True):
    """Who got which assignment."""

    assignment_id: UUID
    person: str


class Issued(msgspec.Struct, frozen=True):
    """The assignments of one command, in the order of its people; ``released`` units got the paper with it."""

    assignments: tuple[IssuedAssignment, ...]
    released: tuple[UUID, ...]


class Revoked(msgspec.Struct, frozen=True):
    """An assignment that was taken back."""

    assignment_id: UUID


async def issue_assignments(
    tx: Transaction, cipher: Cipher, evaluation_id: UUID, version: int, people: Sequence[str]
) -> Issued:
    """Assign a version to people; the paper is released to their units where it is not there yet.

    Without the root unit in scope nothing can be released, and a version that a unit does not hold is not found.
    Events: evaluation.released for each unit that had no paper, assignment.issued for each person.
    """
    units = await store.units_of_people(tx, people)
    seen: set[str] = set()
    faults = []
    for index, person in enumerate(people):
        if person not in units:
            faults.append(Fault(f"/people/{index}", "is not a person whom you can assign"))
        elif person in seen:
            faults.append(Fault(f"/people/{index}", "is named twice"))
        seen.add(person)
    if faults:
        raise PeopleUnknown(faults=faults)
    missing = set(units.values()) - await units_with_paper(tx, evaluation_id, version)
    released: tuple[UUID, ...] = ()
    if missing:
        if not reaches(tx.scope, tx.scope.root_unit):
            raise NotFound
        released = (await release_evaluation(tx, cipher, evaluation_id, version, sorted(missing))).released
    now = tx.clock()
    rows = [
        store.Assignment(new_id(), units[person], PersonRef(person), evaluation_id, version, now, None)
        for person in people
    ]
    await store.insert_assignments(tx, rows)
    for row in rows:
        event = AssignmentIssued(
            assignment_id=str(row.id), person=row.person, evaluation_id=str(evaluation_id), version=version
        )
        draft = EventDraft(event, subject=row.person, org_unit=OrgUnitId(row.org_unit_id))
        await tx.append(f"assignment-{row.id}", 0, [draft])
    return Issued(tuple(IssuedAssignment(row.id, row.person) for row in rows), released)


async def revoke_assignment(tx: Transaction, assignment_id: UUID) -> Revoked:
    """Take an assignment back that was not started; taking it back again changes nothing.

    Event: assignment.revoked.
    """
    await store.lock(tx, assignment_id)
    assignment = await store.assignment_of(tx, assignment_id)
    if assignment is None:
        raise NotFound
    if assignment.revoked_at is None:
        if await store.started(tx, assignment_id):
            raise AssignmentStarted
        event = AssignmentRevokedEvent(assignment_id=str(assignment_id), person=assignment.person)
        draft = EventDraft(event, subject=assignment.person, org_unit=OrgUnitId(assignment.org_unit_id))
        await tx.append(f"assignment-{assignment_id}", 1, [draft])
        await store.mark_revoked(tx, assignment_id, tx.clock())
    return Revoked(assignment_id)
