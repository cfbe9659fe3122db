"""The secrets of SIEM destinations, as what is wrapped under the ledger's key-encryption keys."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tallystick_chassis.keystore import KeyStoreError, Rewrapped
from tallystick_chassis.scope import Scope

from tallystick_ledger.siem import store
from tallystick_ledger.siem.parts import open_box

if TYPE_CHECKING:
    from tallystick_chassis.ids import TenantId
    from tallystick_chassis.service import Runtime


class SiemSecrets:
    """Wraps them anew; the secrets stay, so no receiver notices."""

    def __init__(self, runtime: Runtime) -> None:
        self._database, self._service = runtime.database, runtime.service
        self._box = open_box(runtime.settings)

    @property
    def epoch(self) -> str:
        """The epoch under which secrets are wrapped now."""
        return self._box.epoch

    async def rewrap(self, where: TenantId) -> Rewrapped:
        """Wrap the tenant's secrets that lie under older epochs under the newest.

        One that does not open is left: its key is gone, or somebody has pointed the row elsewhere.
        """
        moved, closed = 0, list[str]()
        async with self._database.transaction(Scope.for_duty(where, self._service)) as tx:
            for one in await store.secrets_under_other_epochs(tx, self._box.epoch):
                try:
                    secret = self._box.open(one.wrapped, tenant=where, destination=one.id, address=one.address)
                except KeyStoreError:
                    closed.append(f"the secret of destination {one.id}")
                    continue
                wrapped = self._box.close(secret, tenant=where, destination=one.id, address=one.address)
                await store.put_secret(tx, one.id, wrapped)
                moved += 1
        return Rewrapped(moved, closed)
