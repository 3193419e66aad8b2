"""What a volunteer read: labels and answers without the markup that exports carry along."""

from __future__ import annotations

import re
import unicodedata

_IMAGE = re.compile(r"!\[[^\]]*\]\([^)]*\)")
_LINK = re.compile(r"\[([^\]]*)\]\([^)]*\)")
_TAG = re.compile(r"</?[A-Za-z][^>]*>")
_BOLD = re.compile(r"\*\*|__|`")
_QUOTES = str.maketrans({"\u2018": "'", "\u2019": "'", "\u201c": '"', "\u201d": '"'})


def plain(text: str) -> str:
    """Lower-case text without pictures, links, bold type and line breaks.

    A picture's own name says nothing: real answers "Features or Disk" and "No" carry the same one. Only an answer that
    is nothing but a picture keeps it.
    """
    words = unicodedata.normalize("NFKC", text).translate(_QUOTES)
    bare = _BOLD.sub("", _TAG.sub(" ", _LINK.sub(r"\1", _IMAGE.sub(" ", words))))
    bare = " ".join(bare.split()).strip("#*_ ")
    return (bare or " ".join(words.split())).casefold()


def slug(text: str) -> str:
    """The text in lower case with single dashes for all that is no letter or digit, as panoptes-aggregation has it."""
    return re.sub(r"[^a-z0-9]+", "-", plain(text).replace("'", "")).strip("-")
