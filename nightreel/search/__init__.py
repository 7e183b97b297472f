"""Search: the segments whose texts have the words that a person looks for, or whose frames show what the words mean.

Postgres finds them (sql/views/17_search.sql, 19_search_near.sql). This package checks what is asked, makes one order of
both kinds of hits, pages, and cuts the texts to snippets. The terminal and the web service call it. It knows nothing of
how documents and vectors are made (database.documents, stages.embed).
"""

from nightreel.search.meaning import TextVector
from nightreel.search.pages import SearchHit, SearchPage, search
from nightreel.search.query import SearchBy, SearchFilters, SearchQuery

__all__ = ["SearchBy", "SearchFilters", "SearchHit", "SearchPage", "SearchQuery", "TextVector", "search"]
