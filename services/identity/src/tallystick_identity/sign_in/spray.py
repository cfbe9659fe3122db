"""Guesses at many accounts: failures from one address and from everywhere, counted by the platform for all tenants."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy.exc import SQLAlchemyError
from tallystick_chassis.http.problems import Unavailable
from tallystick_chassis.http.route_limits import refuse_if_over
from tallystick_chassis.ids import PLATFORM_TENANT

if TYPE_CHECKING:
    from tallystick_chassis.database import Database
    from tallystick_chassis.rate_limits import Spent

    from tallystick_identity.request_edge import Visit
    from tallystick_identity.sign_in.tries import Tries


class SprayGuard:
    """Refuses whoever has failed too often, before anything of an account is looked at."""

    def __init__(self, *, database: Database, tries: Tries) -> None:
        self._database = database
        self._tries = tries

    async def refuse_if_spent(self, visit: Visit) -> None:
        """Let a try pass while its budgets last.

        Raises:
            TooManyRequests: if the address, or everybody together, has failed too often.
            Unavailable: if the failures cannot be counted.
        """
        refuse_if_over(await self._look(visit, has_failed=False), now_of=self._database)

    async def count(self, visit: Visit) -> None:
        """Count one failure.

        Raises:
            Unavailable: if it cannot be counted.
        """
        await self._look(visit, has_failed=True)

    async def _look(self, visit: Visit, *, has_failed: bool) -> list[Spent]:
        try:
            async with self._database.transaction(visit.scope(PLATFORM_TENANT)) as tx:
                return await self._tries.spray(tx, visit.origin, has_failed=has_failed)
        except (OSError, TimeoutError, SQLAlchemyError) as error:
            raise Unavailable from error
