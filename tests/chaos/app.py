"""The app that is run under chaos: the programs of the simulator, in real workers."""

from __future__ import annotations

import engine as wf
from engine.testing import programs

app = wf.WorkflowRuntime()
app.register_workflow(programs.run_program, name=programs.WORKFLOW)
app.register_activity(programs.do_work, name=programs.ACTIVITY)
