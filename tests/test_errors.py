from __future__ import annotations

import pickle

import pytest

from gzflow import errors
from gzflow.errors import GzflowError, RateLimited


def all_errors() -> list[type[GzflowError]]:
    return [e for e in vars(errors).values() if isinstance(e, type) and issubclass(e, GzflowError)]


def test_message_says_what_where_expected_and_fix():
    error = GzflowError("no image", where="galaxy J0", expected="a JPEG", fix="look", problems=["one", "two"])
    assert str(error) == ("no image\n  where: galaxy J0\n  - one\n  - two\n  expected: a JPEG\n  to fix: look")


@pytest.mark.parametrize("cls", all_errors(), ids=lambda cls: cls.__name__)
def test_survives_a_worker_boundary(cls: type[GzflowError]):
    error = cls("what", where="here", expected="that", fix="this", problems=["p"])
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is cls
    assert str(copy) == str(error)
    assert copy.problems == ("p",)


def test_retry_after_survives_a_worker_boundary():
    error = RateLimited("slow down")
    error.retry_after = 7.0
    assert pickle.loads(pickle.dumps(error)).retry_after == 7.0


def test_every_error_stands_in_the_drawn_hierarchy():
    drawn = {line.split("─")[-1].split()[0] for line in (errors.__doc__ or "").splitlines() if "─" in line}
    assert {cls.__name__ for cls in all_errors()} - {"GzflowError"} == drawn


def test_reasons_are_distinct_words():
    reasons = [cls.reason for cls in all_errors() if "reason" in vars(cls)]
    assert len(reasons) == len(set(reasons))
