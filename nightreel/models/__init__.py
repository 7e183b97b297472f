"""Video LLMs: frames become features, features and prompts become answers.

    base.py        what a model can do: `encode`, `ask`, and its identity (ModelSpec)
    loading.py     `find_model` reads the settings and describes a model; `load_model` loads it; the way in
    inquiry.py     the prompts of one segment, and which of them still need an answer
    answering.py   from measured probabilities or a text to an Answer

    checkpoints/   files of a model: revision, digests, adapters, what its processor supports; `demo/` is our own model
    inprocess/     a transformers model in this process
    embedding/     dual encoders, for search by meaning
    engine/        a model whose language side runs in vLLM, which this process starts
    served/        a model on an OpenAI-compatible server; imports no torch
    memory/        how much memory batches take: estimates, measured peaks, budgets

Only `inprocess/`, `embedding/` and the demo's training import transformers.
"""
