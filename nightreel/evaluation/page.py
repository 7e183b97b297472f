"""The report as a page of its own: no script, no request, all text escaped."""

from __future__ import annotations

from jinja2 import Environment, PackageLoader, StrictUndefined

from nightreel.evaluation.report import Report


def render_page(report: Report) -> str:
    """The page as HTML. Names, questions and answers are untrusted: they stay text."""
    pages = Environment(
        loader=PackageLoader("nightreel.evaluation", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return pages.get_template("page.html").render(report=report)
