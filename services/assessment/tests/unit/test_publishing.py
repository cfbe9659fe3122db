"""Publishing versions: given the newest version, when a document is published, then these versions are made."""

import itertools
from typing import Any
from uuid import UUID

import msgspec
import pytest
from tallystick_assessment.canonical import canonical_json
from tallystick_assessment.evaluations.document import EvaluationDocument
from tallystick_assessment.evaluations.domain import Publication, publish
from tallystick_assessment.refusals import Unchanged

EVALUATION = UUID(int=99)
ids = (UUID(int=number) for number in itertools.count(1))
salts = (bytes([number]) * 32 for number in itertools.cycle(range(250)))


def published(document: dict[str, Any], before: Publication | None = None) -> Publication:
    return publish(
        msgspec.json.decode(msgspec.json.encode(document), type=EvaluationDocument),
        evaluation_id=EVALUATION,
        newest=before.snapshot if before else None,
        questions={question.item.id: question for question in before.questions} if before else {},
        new_id=lambda: next(ids),
        new_salt=lambda: next(salts),
    )


def test_the_first_version_makes_a_question_of_every_item(document: dict[str, Any]) -> None:
    first = published(document)
    assert first.snapshot.version == 1
    assert [question.version for question in first.fresh] == [1] * 9
    assert first.snapshot.max_points_milli == 12_000


@pytest.mark.control("EV-14a")
def test_an_edit_makes_the_next_version_of_the_evaluation_and_of_the_changed_question_alone(
    document: dict[str, Any],
) -> None:
    first = published(document)
    document["items"][0]["key"] = ["b"]
    second = published(document, first)
    assert second.snapshot.version == 2
    assert [(one.item.id, one.version) for one in second.fresh] == [("q1", 2)]
    assert second.fresh[0].question_id == first.questions[0].question_id
    assert second.questions[1:] == first.questions[1:]
    assert second.content_hash != first.content_hash


def test_a_new_title_makes_a_version_without_a_new_question(document: dict[str, Any]) -> None:
    first = published(document)
    assert published(document | {"title": "Another"}, first).fresh == ()


def test_the_same_document_is_not_published_twice(document: dict[str, Any]) -> None:
    first = published(document)
    with pytest.raises(Unchanged):
        published(document, first)


def test_a_snapshot_holds_neither_text_nor_key(document: dict[str, Any]) -> None:
    text = canonical_json(published(document).snapshot).decode()
    assert "Which?" not in text
    assert "HSTS" not in text
    assert '"key"' not in text


def test_the_hash_of_a_question_is_salted(document: dict[str, Any]) -> None:
    assert published(document).questions[0].content_hash != published(document).questions[0].content_hash
