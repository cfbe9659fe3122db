"""``python -m tallystick_privacy_worker api|worker|migrate``."""

from tallystick_chassis.heap import importing

with importing():
    from tallystick_chassis.process import main

    from tallystick_privacy_worker.app import SERVICE

main(SERVICE)
