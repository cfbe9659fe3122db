"""Faults on purpose: a whole system under load to kill, freeze and fill up; and a small pipeline to crash anywhere."""
