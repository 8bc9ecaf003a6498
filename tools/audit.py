"""Says what is known of the installed packages' faults: ``python -m tools.audit PIP_AUDIT``, which asks PyPI.

pip-audit itself ends well when PyPI knows no package that it asks for, as behind a mirror: here that is a failure.
"""

from __future__ import annotations

import json
import subprocess
import sys
import sysconfig
from typing import Any

from ragr1_lite.ui.text import count

UNREACHED = (
    "PyPI could not be asked, so no fault is known or ruled out: run it again where https://pypi.org is reached."
)


def verdict(report: dict[str, Any]) -> tuple[list[str], int]:
    """Lines that say what a report holds, and the exit code: 1 where there are faults, or nothing was asked."""
    packages = report["dependencies"]
    left_out = sorted(one["name"] for one in packages if "skip_reason" in one)
    asked = len(packages) - len(left_out)
    if not asked:
        return [UNREACHED], 1
    faulty = [(one, fault) for one in packages for fault in one.get("vulns", ())]
    lines = [
        f"{one['name']} {one['version']}: {fault['id']}, mended in {', '.join(fault['fix_versions']) or 'no release'}"
        for one, fault in faulty
    ]
    lines.append(f"{count(len(faulty), 'known fault') if faulty else 'No known fault'} in {count(asked, 'package')}.")
    if left_out:
        lines.append(f"Not on PyPI, so not asked for: {', '.join(left_out)}.")
    return lines, int(bool(faulty))


def main() -> None:
    """Runs pip-audit over the packages of this Python."""
    command = [sys.argv[1], "--progress-spinner", "off", "--format", "json", "--path", sysconfig.get_path("purelib")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        lines, code = verdict(json.loads(done.stdout))
    except ValueError:
        lines, code = [UNREACHED, *done.stderr.strip().splitlines()[-1:]], 1
    print("\n".join(lines))
    sys.exit(code)


if __name__ == "__main__":
    main()
