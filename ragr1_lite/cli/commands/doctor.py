"""What this machine is fit for."""

from __future__ import annotations

from typing import Annotated

import typer

from ragr1_lite.cli.commands.options import AsJson, examples, group
from ragr1_lite.cli.session import session

app = group()


@app.command("doctor", epilog=examples("ragr1-lite doctor", "ragr1-lite doctor --online --json"))
def diagnose(
    context: typer.Context,
    online: Annotated[bool, typer.Option("--online", help="Ask the model hub for a sign of life, too.")] = False,
    as_json: AsJson = False,
) -> None:
    """Look at what training needs: packages, card, memory, disk, model caches. Nothing is changed.

    Exit code 1 where something needed is broken; what is merely absent, such as a card, is no fault.

    JSON: {"ok", "findings": [{"name", "ok", "detail", "mend"} ...]}; a mend is empty where nothing is to be mended.
    """
    with session(context) as display:
        from dataclasses import asdict

        from ragr1_lite.cli.doctor import examine
        from ragr1_lite.ui import findings_table

        findings = examine(online=online)
        ok = all(finding.ok for finding in findings)
        if as_json:
            display.show_json({"ok": ok, "findings": [asdict(finding) for finding in findings]})
        else:
            display.show(findings_table(findings))
        if not ok:
            raise typer.Exit(1)
