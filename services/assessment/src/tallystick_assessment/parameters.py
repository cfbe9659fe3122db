"""Parameters that several routes share: pages and versions."""

from typing import Annotated, Final

from litestar.params import Parameter

MAX_PAGE: Final = 500
MAX_VERSION: Final = 2**31 - 1

PageSize = Annotated[int, Parameter(ge=1, le=MAX_PAGE)]
Version = Annotated[int, Parameter(ge=1, le=MAX_VERSION)]
# Not `Version | None`: Litestar drops the bounds of a union's part.
AnyVersion = Annotated[int | None, Parameter(ge=1, le=MAX_VERSION)]
