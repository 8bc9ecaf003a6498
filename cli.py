"""Run ragr1-lite from a checkout without installing it: ``python cli.py --help``."""

from ragr1_lite.cli.main import main

main()
