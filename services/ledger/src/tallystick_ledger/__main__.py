"""``python -m tallystick_ledger api|worker|migrate``."""

from tallystick_chassis.heap import importing

with importing():
    from tallystick_chassis.process import main

    from tallystick_ledger.app import SERVICE

main(SERVICE)
