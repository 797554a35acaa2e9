"""Every error a user can cause. Form: `<where>: <requirement>; got <name>=<value>. <Why>. <Remedy>.`"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence


class PotstillError(Exception):
    """Base of all errors that are the user's to mend; the CLI prints it without a traceback.

    `exit_code`: 2 bad input, 3 does not fit, 4 a check failed, 5 a tool is missing, 6 a generated program faulted.
    """

    exit_code = 2


class RecipeError(PotstillError, ValueError):
    """One or more faults in a recipe, all found at once.

    Args:
        faults: one complete message each.
    """

    def __init__(self, faults: Sequence[str]) -> None:
        self.faults = list(faults)
        super().__init__("\n".join(self.faults))


class DataError(PotstillError, ValueError):
    """A data source holds something that cannot be trained on; names the row."""


class ShapeError(PotstillError, ValueError):
    """Tensors do not fit together; names both shapes."""


class DeviceError(PotstillError, ValueError):
    """A device is not known, or its profile says what a profile may not."""


class TeacherError(PotstillError):
    """The teacher failed the gate before labelling."""

    exit_code = 4


class StoreError(PotstillError):
    """A label store or a cached artifact is damaged, torn or of another fingerprint."""

    exit_code = 4


class DamagedError(StoreError):
    """Something that was finished no longer has the bytes that it had."""


class ChangedError(PotstillError):
    """A file, a source or an artifact was replaced while a run was using it."""

    exit_code = 4


class TrainingError(PotstillError):
    """Training cannot go on: a loss or a gradient is not finite."""

    exit_code = 4


class ExportError(PotstillError):
    """The exporter cannot express this model."""

    exit_code = 4


class ParityError(PotstillError):
    """An artifact's outputs differ from the model before it by more than the tolerance."""

    exit_code = 4


class BudgetError(PotstillError):
    """The student does not fit the device's budget."""

    exit_code = 3


class MissingExtraError(PotstillError, ImportError):
    """An optional package or an external tool is not installed; names the command that installs it."""

    exit_code = 5


class EmulationError(PotstillError):
    """A generated program faults, hangs or overruns its stack, here or on an emulated core."""

    exit_code = 6


def nearest(name: str, allowed: Iterable[str]) -> str:
    """Return "Nearest: 'x'. " if a valid name is close to `name`, else an empty string."""
    match = difflib.get_close_matches(name, list(allowed), n=1, cutoff=0.5)
    return f"Nearest: {match[0]!r}. " if match else ""
