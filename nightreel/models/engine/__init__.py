"""A model in vLLM, which a run starts in a process and an environment of its own: its language side, or all of it.

    frames -> vision tower (this process) -> features -> Parquet -> features as embeddings -> vLLM -> answers
    frames -> JPEG                                    -> Parquet -> chat messages          -> vLLM -> answers

    environment.py   the Python environment of vLLM: where it is, what it contains, how it is made
    launch.py        the command line of vLLM, from settings, leased memory and a checkpoint
    warden.py        the program between this process and vLLM: bounds its log, and ends it with this process
    process.py       vLLM as a process: started, watched, started again, stopped
    endpoint.py      requests to it, sent again if it dies
    media.py         the features of a segment in the form that vLLM takes
    generation.py    one request for tokens after tokens, and its reply
    prefix.py        the questions about a batch of segments as such requests
    model.py         the first way as a VideoModel; the second is that of `served`. loader.py makes both

In the first way, vLLM gets tokens and embeddings and gives tokens and probabilities: prompts, tokens of answers, scores
and grammars are those of `inprocess`. So answers differ from those of a model in this process only by the rounding of
its kernels.
"""
