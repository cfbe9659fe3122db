"""What a candidate may answer to an item: the form that each type asks for."""

from collections.abc import Collection
from decimal import Decimal, InvalidOperation
from typing import Final, NoReturn

from tallystick_assessment.questions.paper import PaperItem
from tallystick_assessment.refusals import Fault, ResponseInvalid

Response = str | bool | list[str] | dict[str, str]
"""A checked response in canonical form: a numeric answer is a decimal string, a multiple choice is sorted."""

SHORT_TEXT_MAX: Final = 500
ESSAY_MAX: Final = 20_000
NUMBER_MAX: Final = 40
_EXPONENT_MAX: Final = 30


def checked(item: PaperItem, response: object) -> Response:  # noqa: PLR0911 - one return for each type of item
    """Return the response in canonical form.

    Takes: single choice ``"b"`` · multiple choice ``["a","c"]`` · true/false ``true`` · numeric ``132`` or ``"132"`` ·
    short text and essay ``"text"`` · ordering ``["b","a",…]`` (every option once) · matching ``{"1":"c",…}``.
    Raises ResponseInvalid with pointers below ``/response``.
    """
    match item.type:
        case "single_choice":
            return _option(response, item.options, "/response")
        case "multiple_choice":
            return sorted(_options(response, item.options))
        case "ordering":
            return _ordering(response, item.options)
        case "true_false":
            return _truth(response)
        case "numeric":
            return _number(response)
        case "matching":
            return _matching(response, item.left, item.right)
        case _:
            return _text(response, ESSAY_MAX if item.type == "essay" else SHORT_TEXT_MAX)


def _refuse(detail: str, pointer: str = "/response") -> NoReturn:
    raise ResponseInvalid(faults=[Fault(pointer, detail)])


def _truth(response: object) -> bool:
    if not isinstance(response, bool):
        _refuse("must be true or false")
    return response


def _option(response: object, known: Collection[str], pointer: str) -> str:
    if not isinstance(response, str):
        _refuse("must be the name of an option, a string", pointer)
    if response not in known:
        _refuse("names no option of this item", pointer)
    return response


def _options(response: object, known: Collection[str]) -> list[str]:
    if not isinstance(response, list):
        _refuse("must be a list of option names")
    names = [_option(name, known, f"/response/{index}") for index, name in enumerate(response)]
    if len(set(names)) != len(names):
        _refuse("names an option twice")
    return names


def _ordering(response: object, known: Collection[str]) -> list[str]:
    names = _options(response, known)
    if len(names) != len(known):
        _refuse("must name every option once")
    return names


def _number(response: object) -> str:
    if isinstance(response, bool) or not isinstance(response, int | float | str):
        _refuse("must be a number, or a string that holds one")
    text = str(response)
    if len(text) > NUMBER_MAX:
        _refuse(f"must have at most {NUMBER_MAX} characters")
    try:
        value = Decimal(text)
    except InvalidOperation:
        _refuse("must be a number, or a string that holds one")
    # The exponent is bounded so that writing the number out stays short.
    if not value.is_finite() or abs(value.adjusted()) > _EXPONENT_MAX:
        _refuse("must be a finite number of ordinary size")
    return format(value.normalize(), "f")


def _matching(response: object, left: Collection[str], right: Collection[str]) -> dict[str, str]:
    if not isinstance(response, dict):
        _refuse("must be an object of left to right names")
    for name in response:
        if name not in left:
            # A name of the caller's making is not echoed into the pointer.
            _refuse("names a left side that this item has not")
    return {name: _option(value, right, f"/response/{name}") for name, value in sorted(response.items())}


def _text(response: object, limit: int) -> str:
    if not isinstance(response, str):
        _refuse("must be a string")
    if len(response) > limit:
        _refuse(f"must have at most {limit} characters")
    if "\x00" in response:
        _refuse("must not hold a null character")
    return response
