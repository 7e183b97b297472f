"""Exports in the forms that curators load: FiftyOne, Label Studio, WebVTT. `nightreel export` calls them.

Videos come one after the other from the views, so memory stays flat. Keys of objects and texts of models are untrusted:
each form escapes them, and no name of a file comes from them alone.
"""

from nightreel.stages.curation.findings import VIEWS, FoundVideo, read_found
from nightreel.stages.curation.writing import Curation, CurationFormat, write_curation

__all__ = ["VIEWS", "Curation", "CurationFormat", "FoundVideo", "read_found", "write_curation"]
