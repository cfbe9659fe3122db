"""Read `proto/` with protoc and refuse what an event contract must not hold.

Refused: floats, 64-bit integers (ProtoJSON makes them strings), bytes, maps, oneofs, nested declarations, fields
without a PII class, P3 fields, P2 fields that are not sealed, and event options that contradict themselves.
"""

import re
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from grpc_tools import protoc

from tallystick_contracts.message import LogKind, PiiClass

SEALED = "tallystick.common.v1.Sealed"
OPTIONS_PACKAGE = "tallystick.options.v1"
EVERY_SERVICE = frozenset({"authz", "ops"})  # the prefixes that every service emits under its own name

Field = descriptor_pb2.FieldDescriptorProto
SCALARS = {
    Field.TYPE_STRING: "str",
    Field.TYPE_BOOL: "bool",
    Field.TYPE_INT32: "Int32",
    Field.TYPE_UINT32: "UInt32",
}


class SchemaError(Exception):
    """A proto file breaks a rule of event contracts; the message names the field or message."""


@dataclass(frozen=True, slots=True)
class EnumSchema:
    """An enum: full proto name, comment, value names in order of number; the first is the default."""

    full_name: str
    comment: str
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class FieldSchema:
    """A field. `scalar` is a Python type name, or `reference` the full name of an enum or message."""

    name: str
    json_name: str
    comment: str
    pii: PiiClass
    repeated: bool
    optional: bool
    scalar: str | None
    reference: str | None
    is_enum: bool


@dataclass(frozen=True, slots=True)
class EventSchema:
    """The event option of a message."""

    type: str
    version: int
    log: LogKind
    must_record: bool
    public: bool
    ocsf_class: int
    ocsf_activity: int
    ocsf_status: str
    summary: str


@dataclass(frozen=True, slots=True)
class MessageSchema:
    """A message, and its event option where it is the data of an event."""

    full_name: str
    comment: str
    fields: tuple[FieldSchema, ...]
    event: EventSchema | None


@dataclass(frozen=True, slots=True)
class PackageSchema:
    """All enums and messages of one proto package, and of the packages it can refer to.

    `messages` stand in an order in which each comes after those it refers to.
    """

    name: str
    enums: tuple[EnumSchema, ...]
    messages: tuple[MessageSchema, ...]
    known: "dict[str, MessageSchema | EnumSchema]"


def load_schema(proto_root: Path) -> list[PackageSchema]:
    """Compile every file below `proto_root` and return one schema for each package but the options' own."""
    descriptors = compile_protos(proto_root)
    reader = _OptionReader(descriptors)
    ours = [file for file in descriptors.file if file.package.startswith("tallystick.")]
    enums: dict[str, EnumSchema] = {}
    messages: dict[str, MessageSchema] = {}
    for file in ours:
        if file.package == OPTIONS_PACKAGE:
            continue
        comments = {tuple(place.path): _one_line(place.leading_comments) for place in file.source_code_info.location}
        for index, enum_type in enumerate(file.enum_type):
            name = f"{file.package}.{enum_type.name}"
            values = tuple(value.name for value in sorted(enum_type.value, key=lambda value: value.number))
            enums[name] = EnumSchema(name, comments.get((5, index), ""), values)
        for index, message_type in enumerate(file.message_type):
            message = _message(file.package, message_type, reader, comments, index)
            messages[message.full_name] = message
    known: dict[str, MessageSchema | EnumSchema] = {**enums, **messages}
    packages = sorted({file.package for file in ours} - {OPTIONS_PACKAGE})
    result = []
    for package in packages:
        own = [message for name, message in messages.items() if name.rpartition(".")[0] == package]
        _check_events(package, own)
        own_enums = tuple(schema for name, schema in enums.items() if name.rpartition(".")[0] == package)
        result.append(PackageSchema(package.split(".")[1], own_enums, _in_order(own), known))
    _check_types_unique(messages.values())
    return result


def compile_protos(proto_root: Path) -> descriptor_pb2.FileDescriptorSet:
    """Run protoc over every file below `proto_root`; imports and comments included."""
    sources = sorted(str(path.relative_to(proto_root)) for path in proto_root.rglob("*.proto"))
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "descriptors.binpb")
        status = protoc.main(
            [
                "protoc",
                f"-I{proto_root}",
                f"-I{files('grpc_tools') / '_proto'}",
                "--include_imports",
                "--include_source_info",
                f"--descriptor_set_out={out}",
                *sources,
            ]
        )
        if status != 0:
            message = "protoc refused the proto files (its reason stands above)"
            raise SchemaError(message)
        return descriptor_pb2.FileDescriptorSet.FromString(out.read_bytes())


class _OptionReader:
    """Reads our two options: they are extensions, known only to a pool that holds our own files."""

    def __init__(self, descriptors: descriptor_pb2.FileDescriptorSet) -> None:
        pool = descriptor_pool.DescriptorPool()
        for file in descriptors.file:
            pool.Add(file)
        self._message_options = message_factory.GetMessageClass(
            pool.FindMessageTypeByName("google.protobuf.MessageOptions")
        )
        self._field_options = message_factory.GetMessageClass(
            pool.FindMessageTypeByName("google.protobuf.FieldOptions")
        )
        # Any: the types know only extensions of generated modules.
        self._event: Any = pool.FindExtensionByName(f"{OPTIONS_PACKAGE}.event")
        self._pii: Any = pool.FindExtensionByName(f"{OPTIONS_PACKAGE}.pii")

    def event(self, options: descriptor_pb2.MessageOptions) -> Any | None:  # noqa: ANN401 (a dynamic message)
        parsed = self._message_options.FromString(options.SerializeToString())
        return parsed.Extensions[self._event] if parsed.HasExtension(self._event) else None

    def pii_number(self, options: descriptor_pb2.FieldOptions) -> int:
        parsed = self._field_options.FromString(options.SerializeToString())
        return int(parsed.Extensions[self._pii])


def _message(
    package: str,
    message: descriptor_pb2.DescriptorProto,
    reader: _OptionReader,
    comments: dict[tuple[int, ...], str],
    index: int,
) -> MessageSchema:
    name = f"{package}.{message.name}"
    if message.nested_type or message.enum_type:
        text = f"{name}: maps and nested declarations are refused"
        raise SchemaError(text)
    fields = tuple(
        _field(name, field, reader.pii_number(field.options), comments.get((4, index, 2, position), ""))
        for position, field in enumerate(message.field)
    )
    option = reader.event(message.options)
    event = None if option is None else _event(name, option)
    return MessageSchema(name, comments.get((4, index), ""), fields, event)


def _field(message: str, field: descriptor_pb2.FieldDescriptorProto, pii_number: int, comment: str) -> FieldSchema:
    where = f"{message}.{field.name}"
    if pii_number == 0:
        text = f"{where}: no PII class; every field says one"
        raise SchemaError(text)
    pii = (PiiClass.P0, PiiClass.P1, PiiClass.P2, PiiClass.P3)[pii_number - 1]
    if field.HasField("oneof_index") and not field.proto3_optional:
        text = f"{where}: oneof is refused"
        raise SchemaError(text)
    reference = field.type_name.removeprefix(".") or None
    if field.type not in SCALARS and field.type not in (Field.TYPE_ENUM, Field.TYPE_MESSAGE):
        text = f"{where}: only string, bool, int32, uint32, enums and messages; no floats, 64-bit integers or bytes"
        raise SchemaError(text)
    if pii is PiiClass.P3:
        text = f"{where}: P3 is forbidden in events"
        raise SchemaError(text)
    if message != SEALED and (pii is PiiClass.P2) != (reference == SEALED):
        text = f"{where}: P2 and {SEALED} go together, one is missing"
        raise SchemaError(text)
    return FieldSchema(
        name=field.name,
        json_name=field.json_name,
        comment=comment,
        pii=pii,
        repeated=field.label == Field.LABEL_REPEATED,
        optional=field.proto3_optional or (field.type == Field.TYPE_MESSAGE and field.label != Field.LABEL_REPEATED),
        scalar=SCALARS.get(field.type),
        reference=reference,
        is_enum=field.type == Field.TYPE_ENUM,
    )


def _event(message: str, option: Any) -> EventSchema:  # noqa: ANN401 (a dynamic message)
    logs = {1: LogKind.AUDIT, 2: LogKind.COMPLIANCE}
    if option.log not in logs or option.version < 1 or not option.summary or not option.ocsf_class:
        text = f"{message}: an event names its type, version, log, OCSF class and summary"
        raise SchemaError(text)
    return EventSchema(
        type=option.type,
        version=option.version,
        log=logs[option.log],
        must_record=option.must_record,
        public=option.public,
        ocsf_class=option.ocsf_class,
        ocsf_activity=option.ocsf_activity,
        ocsf_status=option.ocsf_status,
        summary=option.summary,
    )


def _check_events(package: str, messages: Iterable[MessageSchema]) -> None:
    service = package.split(".")[1]
    for message in messages:
        if message.event is None:
            continue
        if re.fullmatch(rf"{service}\.[a-z][a-z0-9_]*\.[a-z][a-z0-9_]*", message.event.type) is None:
            text = f"{message.full_name}: type {message.event.type!r} is not '{service}.<aggregate>.<verb>'"
            raise SchemaError(text)
        suffix = "" if message.event.version == 1 else f"V{message.event.version}"
        expected = (
            "".join(word.capitalize() for part in message.event.type.split(".")[1:] for word in part.split("_"))
            + suffix
        )
        if message.full_name.rpartition(".")[2] != expected:
            text = f"{message.full_name}: the message of {message.event.type} is called {expected}"
            raise SchemaError(text)
        if message.event.public and any(field.pii is PiiClass.P2 for field in message.fields):
            text = f"{message.full_name}: a public event holds nothing personal, sealed or not"
            raise SchemaError(text)


def _check_types_unique(messages: Iterable[MessageSchema]) -> None:
    seen: set[tuple[str, int]] = set()
    for message in messages:
        if message.event is None:
            continue
        key = (message.event.type, message.event.version)
        if key in seen:
            text = f"{message.full_name}: {key[0]} version {key[1]} is declared twice"
            raise SchemaError(text)
        seen.add(key)


def _in_order(messages: Sequence[MessageSchema]) -> tuple[MessageSchema, ...]:
    """Put every message after those of its own package that it refers to."""
    by_name = {message.full_name: message for message in messages}
    done: dict[str, MessageSchema] = {}

    def visit(message: MessageSchema, path: tuple[str, ...]) -> None:
        if message.full_name in path:
            text = f"{message.full_name}: a message that contains itself is refused"
            raise SchemaError(text)
        for field in message.fields:
            if field.reference in by_name and field.reference not in done:
                visit(by_name[field.reference], (*path, message.full_name))
        done[message.full_name] = message

    for message in messages:
        if message.full_name not in done:
            visit(message, ())
    return tuple(done.values())


def _one_line(comment: str) -> str:
    return " ".join(comment.split())
