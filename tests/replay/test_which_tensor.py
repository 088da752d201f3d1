"""Code that asks which tensor it was given: one that it also reaches otherwise, or another."""

import pytest
import tapegrad as torch

first = torch.ones(3)
scales = {first: 10.0}


def by_identity(x):
    return x * 2 if x is first else x * 3


def by_identity_of_the_other(x):
    if x is not first:
        return x * 3
    return x * 2


def by_number(x):
    return x * 2 if id(x) == id(first) else x * 3


def by_key(x):
    return x * scales[x] if x in scales else x * 3


def by_place(x):
    return x * 2 if any(x is t for t in [first]) else x * 3


@pytest.mark.parametrize("function", [by_identity, by_identity_of_the_other, by_number, by_key, by_place])
@pytest.mark.parametrize("known_first", [False, True])
def test_an_argument_that_is_a_tensor_from_elsewhere(function, known_first):
    f = torch.compile(function)
    for known in [known_first] * 4 + [not known_first] * 4 + [known_first, not known_first] * 2:
        x = first if known else torch.ones(3)
        assert f(x).tolist() == function(x).tolist()
    assert f.counters.replayed >= 4
