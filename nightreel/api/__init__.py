"""The REST service: what the views of `reporting` say, pictures of videos, and questions to a model.

    app.py         the application, which a server runs and the console can mount
    service.py     what its routes share
    access.py      tokens, scopes and the rate of requests
    problems.py    errors as problem+json
    reading.py     transactions that read, and that write
    bodies.py      JSON bodies, read after the token
    replies.py     JSON with an ETag
    rows.py        pages of views
    finding.py     GET /search
    exports.py     views as files
    pictures.py    thumbnails and frames;  frames.py: decoded again
    questions.py   POST /ask;  loaded_model.py: one model, one question at a time
    review.py      queues, cases and decisions;  bulk.py: decisions in bulk
    server.py      a socket and uvicorn

It connects as the role nightreel_console, which writes no more than decisions, events of cases, who has a case, and the
time at which a token was used. It knows nothing of
Prefect, runs or commands.
"""
