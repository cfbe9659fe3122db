"""The author's view of one question version, with its key."""

from uuid import UUID

import msgspec
from litestar import get
from tallystick_chassis.http.problems import NotFound
from tallystick_chassis.scope import Scope
from tallystick_chassis.service import Runtime
from tallystick_contracts.capabilities import Capability

from tallystick_assessment.cipher import Cipher
from tallystick_assessment.parameters import Version
from tallystick_assessment.questions.items import Item
from tallystick_assessment.questions.store import load_questions


class QuestionView(msgspec.Struct, frozen=True):
    """A question version as an author sees it; ``content_hash`` is the salted one of its event."""

    question_id: UUID
    version: int
    content_hash: str
    item: Item


@get(
    "/api/v1/assessment/questions/{question_id:uuid}/versions/{version:int}",
    opt={"capability": Capability.QUESTION_READ},
)
async def get_question_version(
    tenant_scope: Scope, runtime: Runtime, cipher: Cipher, question_id: UUID, version: Version
) -> QuestionView:
    """Show a question version with its key."""
    async with runtime.database.transaction(tenant_scope) as tx:
        found = await load_questions(tx, cipher, [(question_id, version)])
    question = found.get((question_id, version))
    if question is None:
        raise NotFound
    return QuestionView(question_id, version, question.content_hash, question.item)
