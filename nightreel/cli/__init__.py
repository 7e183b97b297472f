"""The front door: `nightreel ...`. Commands are thin; what they do is in the library and the flows."""

from nightreel.cli.app import main

__all__ = ["main"]
