"""A model whose language side runs in vLLM, which a run starts in a process and an environment of its own.

    frames -> vision tower (this process) -> features -> Parquet -> features as embeddings -> vLLM -> answers

    environment.py   the Python environment of vLLM: where it is, what it contains, how it is made
    launch.py        the command line of vLLM, from settings, leased memory and a checkpoint
    warden.py        the program between this process and vLLM: bounds its log, and ends it with this process
    process.py       vLLM as a process: started, watched, started again, stopped
    media.py         the features of a segment in the form that vLLM takes
    generation.py    one request for tokens after tokens, and its reply
    prefix.py        the questions about a batch of segments as such requests
    model.py         all of it as a VideoModel; loader.py makes one

vLLM gets tokens and embeddings and gives tokens and probabilities: prompts, tokens of answers, scores and grammars are
those of `inprocess`. So answers differ from those of a model in this process only by the rounding of its kernels.
"""
