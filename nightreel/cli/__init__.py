"""The command line: `nightreel ...`. Commands are thin; the library and the flows do the work."""

from nightreel.cli.app import main

__all__ = ["main"]
