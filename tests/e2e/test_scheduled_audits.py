"""The deployment `draw-audits`, as its flow."""

from __future__ import annotations

from nightreel.options import AuditOptions
from nightreel.units import counted


def test_the_flow_draws_audits_that_are_due_and_none_without_the_setting(pipeline):
    from flows.draw_audits import draw_audits

    pipeline.analyze()
    assert draw_audits(return_state=True).message == "0 audits drawn, 0 labels without a verdict to draw"
    state = draw_audits(AuditOptions(audit_every_days=7), return_state=True)
    drawn = [tuple(row) for row in pipeline.rows("SELECT prompt, made_by FROM reporting.audits ORDER BY prompt")]
    assert drawn
    assert {made_by for _, made_by in drawn} == {"schedule"}
    assert (state.is_completed(), state.message.split(",")[0]) == (True, f"{counted(len(drawn), 'audit')} drawn")
    again = draw_audits(AuditOptions(audit_every_days=7), return_state=True)
    assert again.message.startswith("0 audits drawn"), "they are new"
