"""`devices measure`: this machine as a device."""

from __future__ import annotations

import json
from pathlib import Path

from potstill.core.progress import Progress


def measure(out: Path, *, quick: bool, as_json: bool) -> None:
    """Measure, write the profile and print how far off models held out were."""
    from potstill.verify.calibrate import measure_device

    groups = measure_device(out, quick=quick, progress=Progress("json" if as_json else "auto"))
    for group in groups:
        row, found = group.rows[0], group.fitted
        known = {} if found is None else {"form": found.form.name, "formula_ms": found.form.text(found.coefficients),
                                          "error_mean": found.mean, "error_p90": found.p90}  # fmt: skip
        said = {
            "runtime": row.runtime,
            "version": row.version,
            "dtype": row.dtype,
            "threads": row.threads,
            "models": len(group.rows),
            **known,
        }
        if as_json:
            print(json.dumps(said))
            continue
        off = (
            "too few models"
            if found is None
            else f"{found.form.text(found.coefficients)} ms; held out off by {100 * found.mean:.0f} % in the mean"
        )
        threads = f"{row.threads} thread{'s' * (row.threads != '1')}"
        print(
            f"{row.runtime} {row.version}, {row.dtype}, {threads}: {len(group.rows)} models measured, {off}{'' if group.usable else ': unknown'}"
        )
    if not as_json:
        print(f"{out}, with its rows in {out.with_suffix('.csv')}. Then: potstill fit MODEL --device {out}")
