from __future__ import annotations

import pytest

from gzflow.catalog.zooniverse.text import plain, slug
from tests.catalog.zooniverse.exports import ICON


@pytest.mark.parametrize(
    ("written", "read"),
    [
        (ICON.format(name="feature_or_disk") + " Features or Disk", "features or disk"),
        (ICON.format(name="feature_or_disk") + " No", "no"),
        ("**Smooth**", "smooth"),
        ("# __Smooth__ \n", "smooth"),
        ("Can\u2019t tell", "can't tell"),
        ("More than 4", "more than 4"),
        ("<b>Yes</b>", "yes"),
        ("[Merger](https://help) ", "merger"),
        ("r < 5 and r > 3", "r < 5 and r > 3"),
        ("snake_case", "snake_case"),
        ("", ""),
    ],
)
def test_what_the_volunteer_read(written: str, read: str) -> None:
    assert plain(written) == read
    assert plain(read) == read


def test_an_answer_that_is_only_a_picture_keeps_it() -> None:
    assert plain(ICON.format(name="round")) != plain(ICON.format(name="cigar")) != ""


def test_slugs() -> None:
    assert slug("**More than 4!**") == "more-than-4"
    assert slug("Can't tell") == "cant-tell"
