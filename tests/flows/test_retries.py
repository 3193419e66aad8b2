"""A task that is going to be tried again says so: Prefect's own word for it is one that no console shows."""

from __future__ import annotations

import errno

import pytest
from prefect import task
from prefect.states import Failed

from flows.retries import may_pass
from gzflow.errors import CutoutError, ServiceUnavailable


@task(name="images")
def images() -> None:
    """A task with a name."""


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(errno.EIO, "Input/output error"), "images: [Errno 5] Input/output error: trying again"),
        (OSError(errno.ENOSPC, "No space left on device"), None),
        (ServiceUnavailable("3 of 9 galaxies got no answer yet", fix="nothing"), "images: 3 of 9 galaxies got no answ"),
        (OSError(), "images: OSError: trying again"),
        (CutoutError("refused"), None),
        (ValueError("a mistake"), None),
    ],
    ids=["disk", "full disk", "service", "wordless", "refused", "mistake"],
)
def test_what_is_tried_again_is_said(error: Exception, said: str | None, caplog: pytest.LogCaptureFixture) -> None:
    assert may_pass(images, None, Failed(data=error)) is (said is not None)
    lines = [record.getMessage() for record in caplog.records if record.name == "gzflow.retries"]
    assert len(lines) == (said is not None)
    assert said is None or lines[0].startswith(said)
