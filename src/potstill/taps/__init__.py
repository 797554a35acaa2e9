"""Taps: named places in a model whose outputs are captured, pairs of them, and adapters that join their shapes.

Nothing here knows an objective, a recipe or a training.
"""

from __future__ import annotations

from potstill.taps.places import Place, Shape
from potstill.taps.spec import Joins, TapPair, Taps, TapSort

__all__ = ["Joins", "Place", "Shape", "TapPair", "TapSort", "Taps"]
