"""``python -m tallystick_identity api|worker|migrate|init|add-tenant``."""

from tallystick_chassis.heap import importing

with importing():
    from tallystick_chassis.process import main

    from tallystick_identity.app import SERVICE

main(SERVICE)
