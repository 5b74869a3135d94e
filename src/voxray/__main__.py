"""Runs the command line as ``python -m voxray``."""

from voxray.cli import main

main()
