"""What a processor says of the energy that it used: RAPL's counters, where this machine has them and lets us read them."""

from __future__ import annotations

from pathlib import Path

POWERCAP = Path("/sys/class/powercap")


class Rapl:
    """The counters of whole packages; what lies within one (cores, memory on some) is in it and is not added again.

    Args:
        folder: of the kernel's powercap interface.
    """

    def __init__(self, folder: Path = POWERCAP) -> None:
        self._counters: list[tuple[Path, int]] = []
        for domain in sorted(folder.glob("intel-rapl:*")):
            if domain.name.count(":") == 1 and _says(domain / "name", "").startswith("package"):
                self._counters.append((domain / "energy_uj", int(_says(domain / "max_energy_range_uj", "0"))))
        if any(_says(path, "") == "" for path, _ in self._counters):
            self._counters = []

    def __bool__(self) -> bool:
        """Return whether there is anything to read."""
        return bool(self._counters)

    def read(self) -> list[int]:
        """Return each package's counter, in microjoules."""
        return [int(path.read_text()) for path, _ in self._counters]

    def joules(self, before: list[int], after: list[int]) -> float:
        """Return what all packages used between two readings; a counter that began anew in between is taken on."""
        spent = 0
        for (_, most), first, last in zip(self._counters, before, after, strict=True):
            spent += last - first + (most if last < first else 0)
        return spent / 1e6


def _says(path: Path, otherwise: str) -> str:
    """Return a file's text; since 2020 most kernels let only root read the counters."""
    try:
        return path.read_text().strip()
    except OSError:
        return otherwise
