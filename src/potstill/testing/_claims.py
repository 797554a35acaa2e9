"""What a contract says: a claim that holds, or an AssertionError that tells what must be and what was found."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from potstill.core.spec import Spec


class Claims:
    """Claims about one thing; the first that does not hold raises.

    Args:
        what: names the thing in messages, such as "objective 'soft-label'".
    """

    def __init__(self, what: str) -> None:
        self.what = what

    def that(self, holds: object, requirement: str, **got: Any) -> None:
        """Raise AssertionError with the requirement and what was found unless `holds` is true."""
        if not bool(holds):
            found = ", ".join(f"{name}={_short(value)}" for name, value in got.items())
            raise AssertionError(f"{self.what}: {requirement}" + (f"; got {found}." if found else "."))

    def equal(self, got: Any, expected: Any, requirement: str) -> None:
        """Claim that two arrays have the same shape, type and bits."""
        a, b = _array(got), _array(expected)
        self.that(a.shape == b.shape and a.dtype == b.dtype, requirement, got=_form(a), expected=_form(b))
        self.that(a.tobytes() == b.tobytes(), requirement, largest_difference=_difference(a, b))

    def close(self, got: Any, expected: Any, requirement: str, rtol: float = 1e-5, atol: float = 1e-6) -> None:
        """Claim that two arrays have the same shape and, within the tolerances, the same values."""
        a, b = _array(got), _array(expected)
        self.that(a.shape == b.shape, requirement, got=_form(a), expected=_form(b))
        self.that(np.allclose(a, b, rtol=rtol, atol=atol), requirement, largest_difference=_difference(a, b))

    def finite(self, got: Any, requirement: str) -> None:
        """Claim that every value is finite."""
        values = _array(got)
        self.that(np.isfinite(values).all(), requirement, values=values[~np.isfinite(values)][:3].tolist())

    def refuses(self, action: Any, errors: type[Exception] | tuple[type[Exception], ...], requirement: str) -> None:
        """Claim that calling `action` raises one of `errors`."""
        try:
            found = action()
        except errors:
            return
        raise AssertionError(f"{self.what}: {requirement}; got {_short(found)} and no error.")


def claims_of(family: str, spec: Spec) -> Claims:
    """Return the claims of a spec, named by its family's singular, its kind and what in it is not the default."""
    kind = getattr(spec, "kind", type(spec).__name__)
    fields = ", ".join(f"{n}={_short(getattr(spec, n))}" for n in spec.model_fields_set if n != "kind")
    return Claims(f"{family} {kind!r}" + (f" ({fields})" if fields else ""))


def _array(value: Any) -> NDArray[Any]:
    return np.asarray(value.detach().cpu().numpy() if hasattr(value, "detach") else value)


def _form(array: NDArray[Any]) -> str:
    return f"{array.dtype}{list(array.shape)}"


def _difference(a: NDArray[Any], b: NDArray[Any]) -> Any:
    if a.dtype.kind not in "fiu" or a.size == 0:
        return "not numbers"
    return float(np.abs(a.astype(np.float64) - b.astype(np.float64)).max())


def _short(value: Any) -> str:
    text = f"{value:.6g}" if isinstance(value, float) else repr(value)
    return text if len(text) <= 120 else text[:117] + "..."
