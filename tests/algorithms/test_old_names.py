"""Names with which methods are written keep their old spelling, with a warning."""

from __future__ import annotations

import pytest

from metagd_nb.algorithms import base


@pytest.mark.parametrize(("old", "new"), [("hyper", "hyperparameter"), ("Outer", "Optimizer")])
def test_a_renamed_name_is_still_importable(old: str, new: str) -> None:
    with pytest.warns(DeprecationWarning, match=f"{old} is now called {new}"):
        assert getattr(base, old) is getattr(base, new)
