from __future__ import annotations

import pickle
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gzflow.stages.ids import Ids


@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0"))))
def test_ids_are_a_sequence_of_what_went_in(ids: list[str]) -> None:
    packed = Ids(ids)
    assert list(packed) == ids
    assert len(packed) == len(ids)
    assert packed == tuple(ids)
    assert pickle.loads(pickle.dumps(packed)) == packed
    assert packed[1:3] == tuple(ids[1:3])
    assert hash(packed) == hash(Ids(ids))
    if ids:
        assert packed[-1] == ids[-1]
        assert ids[0] in packed


def test_an_id_with_a_nul_is_refused() -> None:
    with pytest.raises(ValueError, match="NUL"):
        Ids(["a\0b"])


def test_they_take_the_space_of_their_text() -> None:
    ids = [f"{i:019d}" for i in range(1000)]
    assert sys.getsizeof(Ids(ids)._text) < 1.1 * 20 * 1000 < 0.4 * sum(map(sys.getsizeof, ids))
