"""The same machines for hypothesis, which shrinks what fails: it is the source of every draw."""

from __future__ import annotations

from hypothesis import strategies as st

from tests.grow.machines import Grown, grow_from


def machines(most_states: int = 14) -> st.SearchStrategy[Grown]:
    """Valid machines with their inputs and tasks; smaller ones and plainer ones first when one fails."""
    return st.builds(
        grow_from,
        st.randoms(use_true_random=False),
        st.integers(1, most_states),
        st.integers(0, 1_000),
    )
