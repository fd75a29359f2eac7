"""The index beside sets."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ompd.record.finding import Index

KEYS = "abc"
some_keys = st.frozensets(st.sampled_from(KEYS), min_size=1)


@given(st.lists(st.tuples(st.integers(0, 5), some_keys), max_size=20), st.randoms())
def test_is_sets(steps, shuffled):
    index, plain = Index(), {}
    for place, keys in steps:
        if place in plain:
            index.drop(place, plain.pop(place))
        else:
            index.put(place, keys)
            plain[place] = keys
    for wanted in ({"a"}, {"a", "b"}, {"a", "b", "c"}, {"d"}, {"a", "d"}):
        listed = sorted(wanted)
        shuffled.shuffle(listed)
        expected = sorted(place for place, keys in plain.items() if wanted <= keys)
        assert index.all_of(listed) == expected
