"""What answers show is written down field by field, and who somebody is only to those whose capability is that."""

from __future__ import annotations

import pytest
from sweep.answers import FILE, fields_shown, is_private, render
from sweep.routes import document_of
from tallystick_contracts.topology import ServiceName

pytestmark = [pytest.mark.xdist_group("system"), pytest.mark.control("EV-22e")]

MAY_SHOW_PEOPLE = {"people.read", "session.own"}
"""Of others within one's scope; of oneself."""


@pytest.fixture(scope="module")
def documents(layout):
    return {name: document_of(layout, name) for name in ServiceName}


def test_every_field_of_every_answer_is_in_the_reference(documents):
    assert FILE.read_text(encoding="utf-8") == render(documents), "cd tests/support && python -m sweep.answers"


def test_who_somebody_is_is_shown_only_where_the_capability_says_so(documents):
    showing = {
        (operation, capability)
        for document in documents.values()
        for operation, capability, names in fields_shown(document)
        if any(map(is_private, names))
    }
    assert {capability for _, capability in showing} == MAY_SHOW_PEOPLE
    assert ("GET /api/v1/identity/people", "people.read") in showing
