"""potstill distils a big model into one that fits your device, and proves that it fits."""

from __future__ import annotations
