"""How long verification waits before it asks for a proof again."""

from itertools import pairwise

from tallystick_verification.proofs.fetching import FIRST_WAIT_S, LONGEST_WAIT_S, wait_s


def test_waits_grow_from_half_a_second_to_five_minutes() -> None:
    waits = [wait_s(tries) for tries in range(100)]
    assert (waits[0], waits[-1]) == (FIRST_WAIT_S, LONGEST_WAIT_S)
    assert all(before <= after for before, after in pairwise(waits))
