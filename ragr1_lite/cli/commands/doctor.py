"""Checking this machine."""

from __future__ import annotations

from typing import Annotated

from typer import Context, Exit, Option

from ragr1_lite.cli.commands import options as opt
from ragr1_lite.cli.session import session

app = opt.group()


@app.command("doctor", epilog=opt.examples("ragr1-lite doctor", "ragr1-lite doctor --online --json"))
def diagnose(
    context: Context,
    online: Annotated[bool, Option("--online", help="Ask the model hub whether it answers, too.")] = False,
    as_json: opt.AsJson = False,
) -> None:
    """Check what training needs: packages, card, memory, disk, model caches. Nothing is changed.

    Exit code 1 where something needed is broken; something optional that is absent, such as a card, is no fault.

    JSON: {"ok", "findings": [{"name", "ok", "detail", "fix"} ...]}; a fix is empty where nothing is broken.
    """
    with session(context, as_json=as_json) as display:
        from ragr1_lite.cli.doctor import examine
        from ragr1_lite.ui.tables import findings_table

        findings = [finding.to_json() for finding in examine(online=online)]
        ok = all(finding["ok"] for finding in findings)
        display.show(findings_table(findings), json={"ok": ok, "findings": findings})
        if not ok:
            raise Exit(1)
