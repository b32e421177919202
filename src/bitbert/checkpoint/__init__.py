"""The packed directory: bits, header, reading, writing. Plain numpy: no torch, and nothing about how a model runs."""

from bitbert.checkpoint.architecture import Architecture
from bitbert.checkpoint.packed import PackedModel, PackedWeight, StaticScale
from bitbert.checkpoint.read import read
from bitbert.checkpoint.write import write

__all__ = ["Architecture", "PackedModel", "PackedWeight", "StaticScale", "read", "write"]
