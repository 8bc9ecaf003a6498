"""Lists the licences of the installed packages: ``python -m tools.licences``."""

from __future__ import annotations

from collections import defaultdict
from importlib.metadata import Distribution, distributions


def licence_of(package: Distribution) -> str:
    """The licence that a package's metadata names: its expression, its classifiers, or the first line of its text."""
    named = package.metadata.get_all("License-Expression") or [
        line.rpartition(" :: ")[2]
        for line in package.metadata.get_all("Classifier") or ()
        if line.startswith("License ::")
    ]
    text = "".join(package.metadata.get_all("License") or ()).strip().partition("\n")[0]
    return " or ".join(named) or text[:60] or "not said"


def main() -> None:
    """Prints each licence with its packages."""
    packages = defaultdict(set)
    for package in distributions():
        packages[licence_of(package)].add(f"{package.metadata['Name']} {package.version}")
    for licence, names in sorted(packages.items()):
        print(f"{licence}\n  {', '.join(sorted(names, key=str.lower))}")


if __name__ == "__main__":
    main()
