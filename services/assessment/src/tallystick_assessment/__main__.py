"""``python -m tallystick_assessment api | worker | migrate``."""

from tallystick_chassis.process import main

from tallystick_assessment.app import SERVICE

if __name__ == "__main__":
    main(SERVICE)
