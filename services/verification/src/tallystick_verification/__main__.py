"""``python -m tallystick_verification api|worker|migrate``."""

from tallystick_chassis.heap import importing

with importing():
    from tallystick_chassis.process import main

    from tallystick_verification.app import SERVICE

main(SERVICE)
