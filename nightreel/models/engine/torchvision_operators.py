"""Defines the names of two compiled operators of torchvision before torchvision is imported, so that its import works.

Copied into the environment of vLLM for CPUs, where torch and torchvision may come from different indexes.
"""

import importlib.abc
import importlib.machinery
import sys


class _Definer(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):  # type: ignore[no-untyped-def]  # noqa: ARG002
        if name != "torchvision":
            return None
        sys.meta_path.remove(self)
        from torch.library import Library

        library = Library("torchvision", "DEF")
        for operator in ("nms", "qnms"):
            library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        sys.modules[__name__].library = library  # type: ignore[attr-defined]  # they exist as long as this object
        return importlib.machinery.PathFinder.find_spec(name, path)


sys.meta_path.insert(0, _Definer())
