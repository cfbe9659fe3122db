"""Turn one package's schema into the source text of a module of msgspec Structs."""

import re
import textwrap

from tallystick_contracts.generator.schema import (
    EVERY_SERVICE,
    EnumSchema,
    EventSchema,
    FieldSchema,
    MessageSchema,
    PackageSchema,
    SchemaError,
)
from tallystick_contracts.message import PiiClass

WIDTH = 110
SCALAR_DEFAULTS = {"str": '""', "bool": "False", "Int32": "0", "UInt32": "0"}


def service_module(package: PackageSchema) -> str:
    """Return the module's text, not yet formatted."""
    body = [
        *(_enum(schema) for schema in package.enums),
        *(_message(message, package) for message in package.messages),
    ]
    events = [(message, message.event) for message in package.messages if message.event is not None]
    if events:
        entries = "\n".join(_entry(message, event, package) for message, event in events)
        body.append(f"EVENT_TYPES: tuple[EventType, ...] = (\n{entries}\n)\n")
    text = "\n\n".join(body)
    doc = f'"""The `{package.name}` messages. Generated from proto/tallystick/{package.name}; run `make proto`."""\n'
    return doc + "\n" + _imports(package, text) + "\n\n" + text


def _imports(package: PackageSchema, text: str) -> str:
    lines = []
    if package.enums:
        lines.append("import enum\n")
    if "MappingProxyType(" in text:
        lines.append("from types import MappingProxyType\n")
    if "msgspec.field(" in text:
        lines.append("\nimport msgspec\n")
    used = {name for name in ("EventData", "EventType", "Int32", "LogKind", "Message", "PiiClass", "UInt32")
            if re.search(rf"\b{name}\b", text)}  # fmt: skip
    foreign: dict[str, set[str]] = {}
    for message in package.messages:
        for field in message.fields:
            if field.reference and field.reference.split(".")[1] != package.name:
                foreign.setdefault(field.reference.split(".")[1], set()).add(_short(field.reference))
    lines.append("\n")
    for other, names in sorted(foreign.items()):
        lines.append(f"from tallystick_contracts.generated.{other} import {', '.join(sorted(names))}\n")
    if used:
        lines.append(f"from tallystick_contracts.message import {', '.join(sorted(used))}\n")
    return "".join(lines)


def _enum(schema: EnumSchema) -> str:
    name = _short(schema.full_name)
    prefix = re.sub(r"(?<!^)(?=[A-Z])", "_", name).upper() + "_"
    members = "\n".join(f'    {value.removeprefix(prefix)} = "{value}"' for value in schema.values)
    return f"class {name}(enum.Enum):\n{_docstring(schema.comment or name)}\n{members}\n"


def _message(message: MessageSchema, package: PackageSchema) -> str:
    base = "Message" if message.event is None else "EventData"
    doc = message.comment or (message.event.summary if message.event else _short(message.full_name))
    fields = "\n".join(_field(field, package) for field in message.fields)
    head = f"class {_short(message.full_name)}({base}, frozen=True, kw_only=True):\n"
    return f"{head}{_docstring(doc)}\n{fields}\n"


def _field(field: FieldSchema, package: PackageSchema) -> str:
    kind = field.scalar or _short(field.reference or "")
    if field.repeated:
        annotation, default = f"tuple[{kind}, ...]", "()"
    elif field.optional:
        annotation, default = f"{kind} | None", "None"
    elif field.is_enum:
        annotation, default = kind, f"{kind}.{_default_member(field, package)}"
    else:
        annotation, default = kind, SCALAR_DEFAULTS[kind]
    if field.json_name != field.name:
        default = f'msgspec.field(name="{field.json_name}", default={default})'
    comment = textwrap.fill(
        f"{field.pii}. {field.comment}".strip(), WIDTH, initial_indent="    # ", subsequent_indent="    # "
    )
    return f"{comment}\n    {field.name}: {annotation} = {default}"


def _default_member(field: FieldSchema, package: PackageSchema) -> str:
    schema = package.known[field.reference or ""]
    if not isinstance(schema, EnumSchema) or not schema.values[0].endswith("_UNSPECIFIED"):
        message = f"{field.name}: an enum's first value ends in _UNSPECIFIED"
        raise SchemaError(message)
    return "UNSPECIFIED"


def _entry(message: MessageSchema, event: EventSchema, package: PackageSchema) -> str:
    service, aggregate, verb = event.type.split(".")
    pii = ", ".join(f'"{path}": PiiClass.{pii}' for path, pii in _pii_paths(message, package).items())
    return f"""    EventType(
        type={event.type!r},
        version={event.version},
        service={None if service in EVERY_SERVICE else service!r},
        aggregate={aggregate!r},
        verb={verb!r},
        log=LogKind.{event.log.name},
        must_record={event.must_record},
        public={event.public},
        ocsf_class={event.ocsf_class},
        ocsf_activity={event.ocsf_activity},
        ocsf_status={event.ocsf_status!r},
        summary={event.summary!r},
        struct={_short(message.full_name)},
        pii=MappingProxyType({{{pii}}}),
    ),"""


def _pii_paths(message: MessageSchema, package: PackageSchema, prefix: str = "") -> dict[str, PiiClass]:
    paths: dict[str, PiiClass] = {}
    for field in message.fields:
        target = package.known.get(field.reference or "")
        if isinstance(target, MessageSchema) and field.pii is not PiiClass.P2:
            paths |= _pii_paths(target, package, f"{prefix}{field.name}.")
        else:
            paths[prefix + field.name] = field.pii
    return paths


def _docstring(text: str) -> str:
    lines = textwrap.wrap(text, WIDTH)
    if len(lines) == 1:
        return f'    """{text}"""\n'
    return '    """' + "\n    ".join(lines) + '\n    """\n'


def _short(full_name: str) -> str:
    return full_name.rpartition(".")[2]
