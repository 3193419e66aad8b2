from __future__ import annotations

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from gzflow.catalog.objects import objects

Galaxy = tuple[str, str]
galaxies = st.tuples(st.sampled_from(["decals", "gz2", "hubble"]), st.sampled_from("abcde"))
links = st.lists(st.tuples(galaxies, galaxies), max_size=14)


def frame(pairs: list[tuple[Galaxy, Galaxy]]) -> pl.DataFrame:
    names = ["left_survey", "left_id", "right_survey", "right_id"]
    return pl.DataFrame([(*a, *b) for a, b in pairs], schema=dict.fromkeys(names, pl.String), orient="row")


def grown(pairs: list[tuple[Galaxy, Galaxy]]) -> set[frozenset[Galaxy]]:
    """Sets that meet are united until none meets another."""
    sets = [set(pair) for pair in pairs]
    for _ in sets:
        for one in sets:
            for other in sets:
                if one & other:
                    one.update(other)
    return {frozenset(one) for one in sets}


@given(links)
def test_objects_are_what_links_hold_together(pairs: list[tuple[Galaxy, Galaxy]]) -> None:
    found = objects(frame(pairs))
    members: dict[int, set[Galaxy]] = {}
    for survey, id_str, number in found.iter_rows():
        members.setdefault(number, set()).add((survey, id_str))
    assert {frozenset(some) for some in members.values()} == grown(pairs)
    assert sum(map(len, members.values())) == len(found)
    assert found.equals(found.sort("object", "survey", "id_str"))
    assert sorted(members) == list(range(len(members)))


@given(links, st.randoms(use_true_random=False))
def test_neither_order_nor_side_matters(pairs: list[tuple[Galaxy, Galaxy]], random) -> None:
    turned = [pair[:: random.choice([1, -1])] for pair in random.sample(pairs, len(pairs))]
    assert objects(frame(turned)).equals(objects(frame(pairs)))
