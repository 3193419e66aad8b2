"""The supervisor of `gzflow up` on a bad day; see `test_stack.py` for real servers."""

from __future__ import annotations

from pathlib import Path

from flows.stack.options import StackOptions
from flows.stack.plan import plan
from flows.stack.state import StackState
from flows.stack.supervisor import Supervisor


def test_a_state_that_cannot_be_written_is_said_once_and_written_later(tmp_path: Path):
    said: list[str] = []
    planned = plan(StackOptions(prefect_port=0, mlflow_port=0), {"GZFLOW_HOME": str(tmp_path / "home")})
    supervisor = Supervisor(planned, said.append)
    folder = StackState.folder(planned.home)
    folder.parent.mkdir()
    folder.write_text("no folder")
    supervisor._write(ready=True)
    supervisor._look_after()
    assert len(said) == 1
    assert "the state cannot be written" in said[0]
    folder.unlink()
    supervisor._look_after()
    state = StackState.read(planned.home)
    assert state is not None
    assert state.ready
