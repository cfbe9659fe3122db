"""The texts of the mails: plain, short, and with nothing in the subject that a locked screen should not show."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tallystick_identity.sign_in.domain import Purpose

if TYPE_CHECKING:
    from collections.abc import Mapping

SUBJECTS: Mapping[Purpose, str] = {
    Purpose.SIGN_IN: "Your sign-in link",
    Purpose.RESET: "Set a new password",
}
_FIRST: Mapping[Purpose, str] = {
    Purpose.SIGN_IN: "Somebody, hopefully you, asked to sign in.",
    Purpose.RESET: "Somebody, hopefully you, asked to set a new password.",
}
_LAST: Mapping[Purpose, str] = {
    Purpose.SIGN_IN: "If it was not you, do nothing: without this mail nobody gets in.",
    Purpose.RESET: "If it was not you, do nothing: your password stays as it is.",
}


def letter(purpose: Purpose, *, link: str, code: str) -> str:
    """Return the text of a mail with its link and its six digits, which are written in two groups."""
    return (
        f"{_FIRST[purpose]}\n\n"
        "Open this link in the browser you asked from. It works once, for ten minutes:\n\n"
        f"{link}\n\n"
        f"Where you are asked for a code, type {code[:3]} {code[3:]}. We never ask you for it by phone or mail.\n\n"
        f"{_LAST[purpose]}\n"
    )
