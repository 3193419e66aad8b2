"""What surveys learnt together is promoted survey by survey."""

from __future__ import annotations

import pytest

from gzflow.errors import UnknownSurvey
from gzflow.settings import Settings
from gzflow.stages.promote import promote, rollback


@pytest.mark.parametrize("act", [promote, rollback], ids=["promote", "rollback"])
def test_the_whole_has_no_champion_of_its_own_to_decide_about(act, settings: Settings) -> None:
    with pytest.raises(UnknownSurvey, match="each has its share as a model in its own name"):
        act("joint-decals-gz2", settings)
