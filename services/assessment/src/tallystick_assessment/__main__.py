"""``python -m tallystick_assessment api | worker | migrate``."""

from tallystick_chassis.heap import importing

with importing():
    from tallystick_chassis.process import main

    from tallystick_assessment.app import SERVICE

main(SERVICE)
