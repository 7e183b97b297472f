"""Media: turn an untrusted file into trustworthy frames. `sandbox.DecoderPool` is the only way in.

Only this package imports decord and av. To decode, only the sandbox's child processes and tests import them.
"""
