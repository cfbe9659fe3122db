"""Parameters that several routes share: pages, versions, and the cipher of the running process."""

from typing import Annotated, Final

from litestar.params import Parameter
from tallystick_chassis.service import Runtime

from tallystick_assessment.cipher import Cipher

MAX_PAGE: Final = 500
MAX_VERSION: Final = 2**31 - 1

PageSize = Annotated[int, Parameter(ge=1, le=MAX_PAGE)]
Version = Annotated[int, Parameter(ge=1, le=MAX_VERSION)]


def cipher_of(runtime: Runtime) -> Cipher:
    """Return the cipher over the process's key store; RuntimeError where a process was wired without one."""
    if runtime.keys is None:
        msg = "assessment needs its key store"
        raise RuntimeError(msg)
    return Cipher(runtime.keys)
