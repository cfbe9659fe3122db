"""The ASVS map: what it says, and whether the tests that it names passed."""
