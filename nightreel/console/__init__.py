"""The console: what analysts see in a browser.

    app.py         the application, which a server runs
    access.py      who is signed in, their role, and the token of forms
    fields.py      what a form or an address says, within limits
    safety.py      headers of all replies; requests of other sites
    proxied.py     what a proxy in front may say
    problems.py    errors as pages
    rendering.py   templates, languages, times
    languages.py   catalogues of strings, in locales/
    signing_in.py  sign in and out;  account.py: password, sessions, preferences
    find.py        Find;  finding.py: what it shows
    videos.py      the page of a video;  watching.py: what it shows;  timeline.py, media.py
    review.py, review_cases.py    queues and cases;  lead.py, plots.py: thresholds, disagreements;  operator.py: nights
    server.py      a socket and uvicorn

It reads through `nightreel.api`: the same service, the same transactions, as the same role of Postgres. It knows
nothing of Prefect, runs or commands.
"""
