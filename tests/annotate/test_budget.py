"""The budget is kept, whatever happened to a request, and no restart makes it forget."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roadscribe.annotate.budget import Budget, Tokens, upper_bound
from roadscribe.errors import InputError
from roadscribe.recipe import Annotate, load_recipe

BOUND = Tokens(1000, 1000)
PRICED = ("annotate.price_input=10", "annotate.price_output=30")  # a bound of BOUND costs 0.04


def section(*overrides: str) -> Annotate:
    return load_recipe(None, overrides).annotate


def test_requests_are_counted_over_all_runs(tmp_path: Path) -> None:
    with Budget(tmp_path, section("annotate.max_requests=3")) as budget:
        budget.end(budget.begin("a", BOUND), "HTTP 500", 0.1, None, billed=False)
        assert budget.admits(BOUND) == "yes"
        budget.begin("a", BOUND)  # the run dies here
    with Budget(tmp_path, section("annotate.max_requests=3")) as budget:
        assert budget.requests == 2 and budget.admits(BOUND) == "yes"
        budget.begin("b", BOUND)
        assert "max_requests=3 is used up" in budget.admits(BOUND)
    with Budget(tmp_path, section("annotate.max_requests=4")) as budget:
        assert budget.admits(BOUND) == "yes"


def test_what_is_under_way_counts_at_its_upper_bound(tmp_path: Path) -> None:
    with Budget(tmp_path, section("annotate.max_cost=0.1", *PRICED)) as budget:
        budget.end(budget.begin("a", BOUND), "answered", 1.0, Tokens(100, 100))
        assert budget.cost == pytest.approx(0.004)
        first = budget.begin("b", BOUND)
        budget.begin("c", BOUND)
        assert budget.cost == pytest.approx(0.084)
        assert budget.admits(BOUND) == "later"
        budget.end(first, "answered", 1.0, Tokens(100, 100))
        assert budget.admits(BOUND) == "yes"


def test_what_is_unknown_after_a_crash_or_a_timeout_counts_at_its_upper_bound(tmp_path: Path) -> None:
    options = section("annotate.max_cost=0.1", *PRICED)
    with Budget(tmp_path, options) as budget:
        budget.end(budget.begin("a", BOUND), "timeout", 1.0, None)
        budget.begin("b", BOUND)  # the run dies here
    with Budget(tmp_path, options) as budget:
        assert budget.cost == pytest.approx(0.08)
        assert "annotate.max_cost=0.1 is used up" in budget.admits(BOUND)


def test_a_request_that_was_refused_costs_nothing(tmp_path: Path) -> None:
    with Budget(tmp_path, section(*PRICED)) as budget:
        budget.end(budget.begin("a", BOUND), "HTTP 429", 1.0, None, billed=False)
        assert budget.cost == 0


def test_the_first_question_goes_alone_when_money_counts(tmp_path: Path) -> None:
    with Budget(tmp_path, section("annotate.max_cost=100", *PRICED)) as budget:
        first = budget.begin("a", BOUND)
        assert budget.admits(BOUND) == "later"
        budget.end(first, "answered", 1.0, Tokens(100, 100))
        assert budget.admits(BOUND) == "yes"


def test_a_bound_that_was_too_low_is_raised_by_what_was_measured(tmp_path: Path) -> None:
    with Budget(tmp_path, section("annotate.max_cost=1", *PRICED)) as budget:
        budget.end(budget.begin("a", BOUND), "answered", 1.0, Tokens(20_000, 1000))
        assert budget.cost == pytest.approx(0.23)
        budget.begin("b", BOUND)
        assert budget.cost == pytest.approx(0.23 + 20 * 0.04)
        assert budget.admits(BOUND) == "later"


@settings(max_examples=20, deadline=None)
@given(st.data())
def test_the_cost_never_exceeds_the_limit(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """Whatever comes back, in whatever order, as long as no request exceeds its bound."""
    limit = data.draw(st.floats(0.0, 0.5))
    with Budget(tmp_path_factory.mktemp("raw"), section(f"annotate.max_cost={limit}", *PRICED)) as budget:
        under_way: list[str] = []
        for _ in range(20):
            verdict = budget.admits(BOUND)
            if verdict == "yes":
                under_way.append(budget.begin("q", BOUND))
            elif not under_way:
                break
            if under_way and (verdict == "later" or data.draw(st.booleans())):
                number = under_way.pop(data.draw(st.integers(0, len(under_way) - 1)))
                used = data.draw(st.none() | st.builds(Tokens, st.integers(1, 1000), st.integers(0, 1000)))
                budget.end(number, "ended", 0.0, used, billed=data.draw(st.booleans()))
            cost = budget.cost
            assert cost is not None and cost <= limit + 1e-9


def test_money_needs_prices(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="price_output"):
        Budget(tmp_path, section("annotate.max_cost=1", "annotate.price_input=1"))
    with Budget(tmp_path, section()) as budget:
        assert budget.cost is None


def test_a_bound_holds_for_any_tokenizer() -> None:
    """A token is at least a byte; images are bounded by the recipe."""
    bound = upper_bound(section("annotate.image_tokens=700", "annotate.max_tokens=50"), "straße", 10)
    assert bound.input >= 7000 + 7 and bound.output == 50
