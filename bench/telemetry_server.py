"""`python -m bench.telemetry_server api`: the ledger's process with one read of one row, for `telemetry_cost`."""

from unittest.mock import patch

from tallystick_chassis.http import route_limits
from tallystick_chassis.process import main
from tallystick_chassis.service import Service, Wiring
from tallystick_chassis.settings import Settings

from bench.session_check import tile, unchecked, vkey

if __name__ == "__main__":
    with patch.object(route_limits, "ROUTE_BUDGETS", {}):
        main(Service("ledger", "tallystick_ledger", Settings, lambda _: Wiring(routes=[unchecked, vkey, tile])))
