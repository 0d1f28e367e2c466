"""Every table covers its union; a test that fails names the member that is missing."""

import pytest

from engine.core import apply, consequences, decide, execution, lifecycle, matching
from engine.model import actions as ac
from engine.model import commands as cm
from engine.model import effects as ef
from engine.model import events as ev
from engine.model.state import FINISHED_PHASES, Phase
from engine.partition import turns


def names(kinds):
    return sorted(kind.__name__ for kind in kinds)


def test_every_event_has_an_applier_or_is_said_to_change_nothing():
    assert names(apply.APPLIED) == names(ev.EVENTS)


def test_no_event_is_both_applied_and_stateless():
    assert not names(frozenset(apply._APPLIERS) & apply._STATELESS)


def test_every_command_has_a_decider():
    assert names(decide.DECIDED) == names(cm.COMMANDS)
    assert names(cm.COMMANDS) == names(cm.Command.__args__)


def test_every_action_but_the_continuation_has_a_recorder():
    assert names([*consequences.RECORDERS, ac.ContinueAsNew]) == names(ac.Action.__args__)


def test_every_event_is_an_input_a_confirmation_a_control_or_unobserved():
    controls = {ev.InstanceSuspended, ev.InstanceResumed, ev.InstanceTerminated}
    groups = [execution.INPUT_EVENTS, frozenset(matching.MATCHERS), matching.UNOBSERVED, controls]
    assert names(kind for group in groups for kind in group) == names(ev.EVENTS)


def test_every_recorded_action_is_confirmed_by_the_matcher_of_its_event():
    recorded_by_actions = frozenset(ev.EVENTS) - execution.INPUT_EVENTS - matching.UNOBSERVED
    controls = {ev.InstanceSuspended, ev.InstanceResumed, ev.InstanceTerminated}
    assert names(matching.MATCHERS) == names(recorded_by_actions - controls)
    assert len(matching.MATCHERS) == len(ac.Action.__args__)


def test_every_event_has_a_rule_in_the_phases_where_a_run_lives():
    for phase in (Phase.PENDING, Phase.RUNNING):
        changing = {kind for at, kind in lifecycle.PHASE_CHANGES if at is phase}
        assert not names(changing & lifecycle.PHASE_KEPT[phase])
    ruled = {kind for _, kind in lifecycle.PHASE_CHANGES} | lifecycle.PHASE_KEPT[Phase.RUNNING]
    assert names(ruled) == names(ev.EVENTS)


def test_a_finished_run_takes_no_event():
    for phase in FINISHED_PHASES:
        assert phase not in lifecycle.PHASE_KEPT
        assert not [kind for at, kind in lifecycle.PHASE_CHANGES if at is phase]


def test_a_terminal_event_ends_every_run_that_it_can_meet():
    ending = {kind for (_, kind), after in lifecycle.PHASE_CHANGES.items() if after in FINISHED_PHASES}
    assert names(ending) == names(ev.TERMINAL_EVENTS)


def test_every_effect_is_collected():
    assert names(turns._COLLECTORS) == names(ef.Effect.__args__)


def test_a_first_event_other_than_a_start_is_refused():
    recorded = ev.Recorded(
        run_id="r", sequence=1, recorded_at_ms=0, inbox_offset=0, event=ev.EventRaised(name="go")
    )
    with pytest.raises(AssertionError, match="expected InstanceStarted first, but got EventRaised"):
        apply.apply(None, "i", recorded)


def test_an_event_out_of_its_number_or_run_is_refused():
    started = ev.Recorded(
        run_id="r", sequence=1, recorded_at_ms=0, inbox_offset=0, event=ev.InstanceStarted(workflow="w")
    )
    state = apply.apply(None, "i", started)
    raised = ev.EventRaised(name="go")
    for run_id, sequence in (("r", 1), ("r", 3), ("other", 2)):
        recorded = ev.Recorded(
            run_id=run_id, sequence=sequence, recorded_at_ms=0, inbox_offset=0, event=raised
        )
        with pytest.raises(AssertionError, match="expected"):
            apply.apply(state, "i", recorded)
