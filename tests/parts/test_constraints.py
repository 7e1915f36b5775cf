"""Constraints against the oracle."""

import keras
import numpy as np
import pytest

from lamella.core.errors import UnknownNameError
from lamella.parts import constraints

W = np.random.default_rng(0).normal(size=(3, 4, 5)).astype("float32") * 2
CASES = [
    ("MaxNorm", {}),
    ("MaxNorm", {"max_value": 0.5, "axis": [0, 1]}),
    ("MinMaxNorm", {}),
    ("MinMaxNorm", {"min_value": 1.0, "max_value": 3.0, "rate": 0.4, "axis": 2}),
    ("NonNeg", {}),
    ("UnitNorm", {}),
    ("UnitNorm", {"axis": 1}),
]


@pytest.mark.parametrize(("name", "arguments"), CASES)
def test_equals_oracle(name, arguments):
    ours = getattr(constraints, name)(**arguments)
    theirs = getattr(keras.constraints, name)(**arguments)
    np.testing.assert_allclose(ours(W), theirs(W), rtol=1e-5, atol=1e-7)
    assert ours.get_config() == theirs.get_config()
    again = constraints.deserialize(keras.constraints.serialize(theirs))
    assert type(again) is type(ours)
    assert again.get_config() == ours.get_config()


def test_get():
    assert constraints.get(None) is None
    assert isinstance(constraints.get("non_neg"), constraints.NonNeg)
    assert isinstance(constraints.get("MaxNorm"), constraints.MaxNorm)
    assert constraints.max_norm(3).max_value == 3
    assert constraints.Constraint()(W) is W


def test_unknown_name():
    with pytest.raises(UnknownNameError, match=r"Unknown constraint 'maxnorm'\. Did you mean 'max_norm'"):
        constraints.get("maxnorm")
