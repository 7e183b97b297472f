"""Media: from an untrusted file to frames that can be trusted. `sandbox.DecoderPool` is the one door to it.

decord and av are imported here and nowhere else, and, but for tests, only inside the sandbox's child processes.
"""
