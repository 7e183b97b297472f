"""Dual encoders: frames of a segment and texts become vectors that can be compared, for search by meaning.

encoder.py     which encoder the settings name, its identity, and the way to a loaded one; imports no torch
dual.py        a transformers model: SigLIP, SigLIP 2, CLIP or X-CLIP
"""

from nightreel.models.embedding.encoder import find_encoder, load_encoder, measure_encoder
from nightreel.models.embedding.spec import EncoderSpec, FoundEncoder, SegmentEncoder

__all__ = ["EncoderSpec", "FoundEncoder", "SegmentEncoder", "find_encoder", "load_encoder", "measure_encoder"]
