"""A question's version: an item with its key, and the salt of its hash."""

from uuid import UUID

import msgspec

from tallystick_assessment.canonical import canonical_json, salted_hash
from tallystick_assessment.questions.items import Item


class QuestionVersion(msgspec.Struct, frozen=True):
    """One version of one question with its key; ``salt`` (32 bytes) makes its hash say nothing about its content."""

    question_id: UUID
    version: int
    item: Item
    salt: bytes

    @property
    def content_hash(self) -> str:
        """Salted SHA-256 of the item with its key, hexadecimal."""
        return salted_hash(self.salt, canonical_json(self.item))
