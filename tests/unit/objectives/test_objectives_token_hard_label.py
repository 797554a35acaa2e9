"""Cross-entropy with true tokens, against NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import log_softmax

from potstill.objectives.token_hard_label import token_hard_label


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_is_the_mean_over_a_rows_tokens(smoothing: float) -> None:
    rng = np.random.default_rng(0)
    logits, tokens = rng.normal(size=(4, 5, 7)), rng.integers(0, 7, (4, 5))
    tokens[1, 3:], tokens[2] = -1, -1
    log_q, wanted = log_softmax(logits, axis=2), []
    for row in range(4):
        terms = [
            -(1 - smoothing) * log_q[row, i, t] - smoothing * log_q[row, i].mean()
            for i, t in enumerate(tokens[row])
            if t >= 0
        ]
        wanted.append(np.mean(terms) if terms else 0.0)
    found = token_hard_label(torch.from_numpy(logits), torch.from_numpy(tokens), smoothing)
    np.testing.assert_allclose(found.numpy(), wanted, rtol=1e-10)
    with pytest.raises(ValueError, match="smoothing must be"):
        token_hard_label(torch.from_numpy(logits), torch.from_numpy(tokens), 1.0)
