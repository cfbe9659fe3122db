"""Our Structs write and read the same JSON as Protobuf's own json_format, for every event type."""

import base64
import json
from typing import Any

import msgspec
import pytest
import rfc8785
from google.protobuf import descriptor_pool, json_format, message_factory
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import inspect
from tallystick_contracts.generate import PROTO_ROOT
from tallystick_contracts.generated.common import Sealed
from tallystick_contracts.generator.schema import compile_protos
from tallystick_contracts.message import EventType
from tallystick_contracts.registry import REGISTRY

ENCODER = msgspec.json.Encoder(order="sorted")
TEXT = st.text(max_size=20)  # no lone surrogates: neither side can write them


@pytest.fixture(scope="module")
def pool() -> descriptor_pool.DescriptorPool:
    pool = descriptor_pool.DescriptorPool()
    for file in compile_protos(PROTO_ROOT).file:
        pool.Add(file)
    return pool


def values_of(kind: inspect.Type) -> st.SearchStrategy[Any]:  # noqa: PLR0911 (one line for each kind of field)
    match kind:
        case inspect.StructType(cls=cls) if cls is Sealed:
            boxes = st.binary(min_size=49, max_size=80).map(lambda box: base64.b64encode(box).decode())
            return st.builds(Sealed, key_id=TEXT, box=boxes)
        case inspect.StructType(cls=cls, fields=fields):
            return st.builds(cls, **{field.name: values_of(field.type) for field in fields})
        case inspect.VarTupleType(item_type=item):
            return st.lists(values_of(item), max_size=3).map(tuple)
        case inspect.UnionType(types=types):
            return st.one_of(*(st.none() if isinstance(t, inspect.NoneType) else values_of(t) for t in types))
        case inspect.EnumType(cls=cls):
            return st.sampled_from(list(cls))
        case inspect.BoolType():
            return st.booleans()
        case inspect.IntType(ge=low, le=high):
            return st.integers(low, high)
        case inspect.StrType():
            return TEXT
        case _:
            pytest.fail(f"no strategy for {kind}")


@pytest.mark.parametrize("event_type", list(REGISTRY), ids=lambda entry: f"{entry.type}.v{entry.version}")
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_structs_and_json_format_agree_both_ways(
    event_type: EventType, pool: descriptor_pool.DescriptorPool, data: st.DataObject
) -> None:
    struct = event_type.struct
    package = struct.__module__.rpartition(".")[2]
    message_class = message_factory.GetMessageClass(
        pool.FindMessageTypeByName(f"tallystick.{package}.v1.{struct.__name__}")
    )
    given_data = data.draw(values_of(inspect.type_info(struct)))
    ours = ENCODER.encode(given_data)

    theirs = message_class()
    json_format.Parse(ours, theirs)
    as_they_write_it = json_format.MessageToDict(theirs, descriptor_pool=pool)

    assert as_they_write_it == json.loads(ours)
    assert msgspec.json.decode(json.dumps(as_they_write_it), type=struct) == given_data
    assert rfc8785.dumps(as_they_write_it) == ours
