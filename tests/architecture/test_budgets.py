"""Every route with a budget is one that its service serves."""

import re
from pathlib import Path

import pytest
from tallystick_chassis.budgets import BUDGETS, ROUTE_BUDGETS

ROOT = Path(__file__).parents[2]


@pytest.mark.control("EV-21c")
def test_every_route_with_a_budget_stands_in_the_reference_of_routes() -> None:
    reference = (ROOT / "docs/reference/routes.md").read_text()
    served = set(re.findall(r"`((?:GET|POST|PUT|DELETE) [^`]+)`", reference))
    assert {name.partition(" ")[2] for name in ROUTE_BUDGETS} <= served


@pytest.mark.control("EV-21c")
def test_a_budgets_name_means_one_budget() -> None:
    for budgets in ROUTE_BUDGETS.values():
        assert all(BUDGETS[budget.name] == budget for budget in budgets)
