"""Where ids stand in a route's request, and which routes answer with lists, as the OpenAPI documents say.

What the sweep varies is not written down by hand: it is what a recipe's request and the document have in common. A
string that a document declares and no recipe ever fills with an id is in ``WORDS``, with what it is; anything else that
a new route takes makes ``test_every_id_of_every_route_is_swept`` fail.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

from sweep.recipes import RECIPES, Ids
from sweep.visitor import NOTHING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from sweep.recipes import Recipe
    from sweep.visitor import Call

Document = dict[str, Any]
Spot = tuple[str, ...]
"""``("path", "person_id")``, ``("query", "kind")``, ``("body", "rows", "*", "email")``."""

NO_IDS = frozenset({"version", "seq", "size", "path", "slug"})
"""Fields of ``Ids`` that belong to a place and are no ids."""

WORDS: Mapping[str, str] = {
    "after": "a cursor; those of another list are tried in tests/security/test_bad_input.py",
    "aggregate": "a kind of event",
    "kind": "a kind of row or factor",
    "name": "what people call it, or one of a fixed set of files and tiles",
    "slug": "what people call it",
    "label": "what people call it",
    "title": "what people read",
    "stem": "what people read",
    "reason": "what people read",
    "display_name": "what people read",
    "email": "an address; other tenants' are tried by name in test_routes",
    "rows/*/org_unit": "the path of slugs of an import's row, made where it is not there",
    "rows/*/role": "a role's name within the tenant",
    "language": "a word",
    "since": "a time",
    "until": "a time",
    "starts_at": "a time",
    "expires_at": "a time",
    "type": "a type of event or item",
    "actor": "who did something in one's own units is no secret there, wherever they live",
    "stream": "filters a list by a stream's name; what is in the list is swept",
    "code": "a secret that is tried",
    "new_password": "a secret that is set",
    "current_password": "a secret that is tried",
    "password_hash": "a secret that is set",
    "token": "a session's token",
    "item_id": "an item's name within its evaluation",
    "body": "an event of the service that hands it over",
    "issuer": "the address of somebody else's provider",
    "client_id": "what the tenant is called at its provider",
    "client_secret": "a secret that is set",
    "domains": "names of the internet",
    "role_claim": "a name in the provider's tokens",
    "roles/*/value": "a text in the provider's tokens",
    "two_factor_values": "a text in the provider's tokens",
    "csrf_token": "a secret that is checked",
    "idempotency_key": "drawn for each form",
    "address": "where a SIEM is",
    "authorization": "a secret that is set",
    "starts_on": "a day",
    "expires_on": "a day",
}


OWN_NAMES: Mapping[str, str] = {
    "assessment POST /api/v1/assessment/evaluations": "an exam's document names its own items, options and keys",
    "identity POST /api/v1/auth/passkeys/{factor_id}/confirm": "bytes that the browser's device made up",
    "identity POST /api/v1/auth/second-factor/passkey": "bytes that the browser's device signed",
}
"""Routes whose whole body holds no id, and why."""

NO_LISTS_OF_THINGS: Mapping[str, str] = {
    "assessment GET /api/v1/assessment/evaluations/{evaluation_id}": "the items of the one that was asked for",
    "assessment GET /api/v1/assessment/evaluations/{evaluation_id}/versions/{version}": "as above",
    "identity GET /api/v1/auth/second-factor": "the factors of the person who asks; whoever is staff has another",
    "identity GET /api/v1/auth/factors/{factor_id}": "recovery codes",
    "identity GET /api/v1/auth/passkeys/{factor_id}": "algorithms, and the passkeys of the person who asks",
    "identity GET /api/v1/identity/sso": "what the tenant said of the one provider that it has",
    "ledger GET /api/v1/ledger/logs/{log_id}/proofs/consistency": "hashes",
    "ledger GET /api/v1/ledger/logs/{log_id}/proofs/inclusion": "hashes",
    "ledger GET /api/v1/ledger/public-entries/{tenant}/{event_id}": "keys of the installation, for services",
    "ledger GET /api/v1/ledger/siem-destinations/{destination_id}/dead-letters": "entries of the one asked for",
    "ledger GET /api/v1/ledger/state": "what came of each event, by an id that people do not see",
    "verification GET /api/v1/verification/state": "credentials by their public reference",
}
"""Routes with a list in the answer in which no id of the place stands, and why."""


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation of a document, by the route's name."""

    name: str
    document: Document
    content: Document

    def spots(self) -> Iterator[Spot]:
        """Give every place in the request where a text may stand."""
        for parameter in self.content.get("parameters", ()):
            if parameter["in"] in {"path", "query"} and _is_text(self._plain(parameter["schema"])):
                yield parameter["in"], parameter["name"]
        for media in self.content.get("requestBody", {}).get("content", {}).values():
            yield from self._texts(media["schema"], ("body",), frozenset())

    def answers_with_a_list(self) -> bool:
        """Say whether some successful answer has an array on its first level."""
        for status, answer in self.content["responses"].items():
            for media in answer.get("content", {}).values():
                schema = self._plain(media["schema"])
                members = [self._plain(one) for one in schema.get("properties", {}).values()]
                if status.startswith("2") and any(one.get("type") == "array" for one in [schema, *members]):
                    return True
        return False

    def _plain(self, schema: Document) -> Document:
        while "$ref" in schema:
            schema = self.document["components"]["schemas"][schema["$ref"].rsplit("/", 1)[1]]
        return schema

    def _texts(self, schema: Document, at: Spot, above: frozenset[str]) -> Iterator[Spot]:
        if "$ref" in schema:
            if schema["$ref"] in above:
                return
            above |= {schema["$ref"]}
        schema = self._plain(schema)
        for part in (*schema.get("oneOf", ()), *schema.get("anyOf", ())):
            yield from self._texts(part, at, above)
        for name, inner in schema.get("properties", {}).items():
            yield from self._texts(inner, (*at, name), above)
        for inner in (schema.get("items"), schema.get("additionalProperties")):
            if isinstance(inner, dict):
                yield from self._texts(inner, (*at, "*"), above)
        if _is_text(schema):
            yield at


def _is_text(schema: Document) -> bool:
    kinds = [schema, *schema.get("oneOf", ()), *schema.get("anyOf", ())]
    return any(
        one.get("type") in {"string", None} and "enum" not in one and "const" not in one and one
        for one in kinds
        if not {"oneOf", "anyOf", "properties", "items", "$ref"} & set(one)
    )


def operations(documents: Mapping[str, Document]) -> dict[str, Operation]:
    """Return every operation of every service's document by the route's name."""
    return {
        f"{service} {method.upper()} {path}": Operation(f"{service} {method.upper()} {path}", document, operation)
        for service, document in documents.items()
        for path, item in document["paths"].items()
        for method, operation in item.items()
    }


def varied(recipe: Recipe) -> dict[str, frozenset[Spot]]:
    """Return the ids of a recipe's request by their name in ``Ids``, and where in the request each stands."""
    mine, theirs = Ids(), Ids()
    before, again = _leaves(recipe.build(mine)), _leaves(recipe.build(mine))
    random = {spot for spot in before if before[spot] != again[spot]}
    found = {}
    for one in (field.name for field in fields(Ids) if field.name not in NO_IDS):
        after = _leaves(recipe.build(replace(mine, **{one: getattr(theirs, one)})))
        if spots := frozenset(spot for spot in before if before[spot] != after[spot] and spot not in random):
            found[one] = spots
    return found


def _leaves(call: Call) -> dict[Spot, list[object]]:
    found: dict[Spot, list[object]] = {}

    def walk(value: object, at: Spot) -> None:
        if isinstance(value, dict):
            for name, inner in value.items():
                walk(inner, (*at, name))
        elif isinstance(value, list):
            for inner in value:
                walk(inner, (*at, "*"))
        else:
            found.setdefault(at, []).append(value)

    walk(dict(call.path), ("path",))
    walk(dict(call.query), ("query",))
    if call.json is not NOTHING:
        walk(call.json, ("body",))
    if call.form is not None:
        walk(dict(call.form), ("body",))
    return found


def unswept(found: Mapping[str, Operation]) -> list[str]:
    """Return the places in requests where an id may stand and none of the route's recipes puts one."""
    return [
        f"{name}: {'/'.join(spot)}"
        for name, recipes in RECIPES.items()
        for covered in [{spot for recipe in recipes for spots in varied(recipe).values() for spot in spots}]
        for spot in found[name].spots()
        if spot not in covered and not _is_word(spot) and not (spot[0] == "body" and name in OWN_NAMES)
    ]


def _is_word(spot: Spot) -> bool:
    return bool(words_for(spot))


def words_for(spot: Spot) -> set[str]:
    """Return the entries of ``WORDS`` that speak of a place in a request."""
    text = "/" + "/".join(spot).removesuffix("/*")
    return {word for word in WORDS if text.endswith(f"/{word}")}


def unread(found: Mapping[str, Operation]) -> list[str]:
    """Return the lists in which no recipe looks for what is there."""
    return [
        name
        for name, recipes in RECIPES.items()
        if found[name].answers_with_a_list() and name.split(" ")[1] == "GET"
        if name not in NO_LISTS_OF_THINGS and "/feed/" not in name  # feeds are for services
        if not any(recipe.shows for recipe in recipes)
    ]
