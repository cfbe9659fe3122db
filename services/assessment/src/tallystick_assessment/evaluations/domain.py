"""Publishing: which question versions a document makes, and the snapshot that names them for ever."""

from collections.abc import Callable, Mapping
from uuid import UUID

import msgspec

from tallystick_assessment.canonical import canonical_json, content_hash
from tallystick_assessment.evaluations.document import Alignment, EvaluationDocument, check
from tallystick_assessment.questions.domain import QuestionVersion
from tallystick_assessment.questions.items import Item, Matching, MultipleChoice, ShortText, item_type, points_milli
from tallystick_assessment.refusals import Unchanged


class SnapshotItem(msgspec.Struct, frozen=True):
    """What a snapshot says of one item: which question version, its hash, and how it is scored; no text, no key."""

    item_id: str
    question_id: UUID
    question_version: int
    content_hash: str
    type: str
    points_milli: int
    rule: str


class Snapshot(msgspec.Struct, frozen=True):
    """An evaluation version in full but for question text and keys; its canonical bytes are what is stored."""

    evaluation_id: UUID
    version: int
    slug: str
    title: str
    language: str
    pass_mark_percent: int
    time_limit_s: int
    items: tuple[SnapshotItem, ...]
    alignments: tuple[Alignment, ...]

    @property
    def max_points_milli(self) -> int:
        """Points that can be scored, in thousandths; essays are not in it."""
        return sum(item.points_milli for item in self.items)


class Publication(msgspec.Struct, frozen=True):
    """A new evaluation version and the question versions that are new with it; ``questions`` holds all, in order."""

    snapshot: Snapshot
    questions: tuple[QuestionVersion, ...]
    fresh: tuple[QuestionVersion, ...]

    @property
    def content_hash(self) -> str:
        """SHA-256 of the snapshot's canonical bytes, hexadecimal."""
        return content_hash(canonical_json(self.snapshot))


def publish(
    document: EvaluationDocument,
    *,
    evaluation_id: UUID,
    newest: Snapshot | None,
    questions: Mapping[str, QuestionVersion],
    new_id: Callable[[], UUID],
    new_salt: Callable[[], bytes],
) -> Publication:
    """Return the next version of an evaluation; ``questions`` are those of ``newest``, by item id.

    An item that reads as before keeps its question version, one that changed gets the next version of its question.
    Raises DocumentInvalid, or Unchanged when nothing differs from ``newest``.
    """
    check(document)
    chosen: list[QuestionVersion] = []
    fresh: list[QuestionVersion] = []
    for item in document.items:
        before = questions.get(item.id)
        if before is not None and before.item == item:
            chosen.append(before)
            continue
        question_id, version = (before.question_id, before.version + 1) if before else (new_id(), 1)
        question = QuestionVersion(question_id, version, item, new_salt())
        chosen.append(question)
        fresh.append(question)
    snapshot = Snapshot(
        evaluation_id=evaluation_id,
        version=newest.version + 1 if newest else 1,
        slug=document.slug,
        title=document.title,
        language=document.language,
        pass_mark_percent=document.pass_mark_percent,
        time_limit_s=document.time_limit_minutes * 60,
        items=tuple(_snapshot_item(question) for question in chosen),
        alignments=document.alignments,
    )
    if newest and msgspec.structs.replace(snapshot, version=newest.version) == newest:
        raise Unchanged
    return Publication(snapshot, tuple(chosen), tuple(fresh))


def _snapshot_item(question: QuestionVersion) -> SnapshotItem:
    return SnapshotItem(
        item_id=question.item.id,
        question_id=question.question_id,
        question_version=question.version,
        content_hash=question.content_hash,
        type=item_type(question.item),
        points_milli=points_milli(question.item),
        rule=scoring_rule(question.item),
    )


def scoring_rule(item: Item) -> str:
    """Return how an item is scored, in words that never change for a published version."""
    match item:
        case MultipleChoice():
            return item.scoring.value
        case ShortText():
            return "+".join(("all_or_nothing", *item.normalise))
        case Matching():
            return "share_per_pair"
        case _:
            return "unscored" if not points_milli(item) else "all_or_nothing"
