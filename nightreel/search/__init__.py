"""Search: the segments whose captions, texts, tags and choices have the words that a person looks for.

Postgres finds them (sql/views/17_search.sql). This package checks what is asked, pages, and cuts the texts to snippets.
The terminal and the web service call it. It knows nothing of how documents are made (database.documents).
"""

from nightreel.search.pages import SearchHit, SearchPage, search
from nightreel.search.query import SearchFilters, SearchQuery

__all__ = ["SearchFilters", "SearchHit", "SearchPage", "SearchQuery", "search"]
