"""What a device is: one YAML file each in profiles/, every number with its status and source."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from potstill.core.errors import DeviceError, nearest
from potstill.core.spec import Spec

Status = Literal["verified", "general_knowledge", "measured", "unknown"]
"""verified: a page, file or data sheet states it; measured: on this machine, now."""


class Sourced(Spec):
    """Anything that is known, or is said not to be."""

    status: Status
    """How well it is known."""
    source: str = ""
    """Where it stands; empty only of what is unknown or measured here."""
    note: str = ""
    """What else must be known to read it."""

    @model_validator(mode="after")
    def _has_source(self) -> Self:
        if self.status in ("verified", "general_knowledge") and not self.source:
            raise ValueError(f"source is required of what is {self.status}; got nothing")
        return self


class Fact(Sourced):
    """A fact in words."""

    text: str = ""
    """Empty where it is unknown."""

    @model_validator(mode="after")
    def _has_text(self) -> Self:
        if (self.status == "unknown") != (not self.text):
            raise ValueError(
                f"text must be there unless status is unknown; got status={self.status!r}, text={self.text!r}"
            )
        return self

    def shown(self) -> str:
        """Return the fact, "unknown" where there is none."""
        return self.text or "unknown"


class Figure(Sourced):
    """A number, or the range that boards, modes or sources span; its unit stands in the field's name."""

    low: float | None = Field(default=None, ge=0)
    """Smallest; nothing where it is unknown."""
    high: float | None = Field(default=None, ge=0)
    """Largest."""
    named: dict[str, float] = Field(default_factory=dict)
    """What each source or mode says, where they are several."""

    @model_validator(mode="after")
    def _is_a_range(self) -> Self:
        known = self.status != "unknown"
        if known != (self.low is not None) or known != (self.high is not None):
            raise ValueError(f"low and high must both be there unless status is unknown; got {self.low}, {self.high}")
        if self.low is not None and self.high is not None and self.low > self.high:
            raise ValueError(f"low must be at most high; got {self.low} and {self.high}")
        return self


class Power(Figure):
    """Power while something runs, in watts."""

    what: str
    """What ran, and what was measured: a board, a rail."""
    during: Literal["inference", "load", "nominal"]
    """inference: a network ran; load: another program; nominal: a stated typical value. Energy is modelled from inference alone, or
    from idle to load where there is no other."""
    boards: tuple[str, ...] = ()
    """Boards of the calibration that it holds for; empty: all of them."""
    runtimes: tuple[str, ...] = ()
    """Runtimes that it holds for; empty: all of them."""


class LatencyOf(Spec):
    """Which published rows predict a latency, and by which form. The fit is not stored: it is made from the rows."""

    board: str
    """Id of the board in calibration.csv; a key of `boards`."""
    runtime: str
    """As the rows call it."""
    version: str
    """As the rows call it; empty where they do not say."""
    dtype: Literal["int8", "float16", "float32", "float"]
    """`float` is ncnn's own choice of float16 or float32."""
    threads: str
    """Number of threads, `0` on an accelerator, empty where the source does not say."""
    form: str
    """One of `potstill.devices.forms.FORMS`."""
    rows: str = ""
    """A table of rows of one's own, a .csv file beside the profile; empty: calibration.csv."""

    @property
    def title(self) -> str:
        """The runtime with its version, as a verdict names it."""
        return f"{self.runtime} {self.version}".strip()

    @property
    def counted(self) -> bool:
        """Whether instructions are counted in the model's own graph, and no rows are fitted."""
        return self.form == INSTRUCTIONS


INSTRUCTIONS = "instructions"
GENERATED_C = LatencyOf(board="", runtime="potstill C", version="", dtype="int8", threads="1", form=INSTRUCTIONS)
"""The C that `export-c` and the exporter `c` write, on a core whose instructions are modelled; no profile names it."""


class DeviceProfile(Spec):
    """A device."""

    name: str = Field(pattern=r"^[a-z0-9_]+$")
    """As the command line calls it; the file's name."""
    title: str
    """As people call it."""
    kind: Literal["mcu", "mcu_npu", "sbc", "edge_gpu", "edge_tpu", "phone", "laptop", "host"]
    """What sort of device. On mcu and mcu_npu a model has the RAM to itself and its weights stay in flash."""
    cores: Fact
    """Processors."""
    clock_mhz: Figure
    """Of the main core."""
    ram_bytes: Figure
    """All of it; low and high differ where boards of this name do."""
    ram_contiguous_bytes: Figure | None = None
    """The largest block in one piece, where it is less."""
    flash_bytes: Figure | None = None
    """Where weights and code lie on a microcontroller."""
    storage: Fact | None = None
    """Where files lie, on others."""
    memory_bandwidth_mb_s: Figure
    """Of copies or as a peak, as `named` says."""
    power_idle_w: Figure
    """Of the whole board, unless the note says otherwise."""
    power_active: tuple[Power, ...] = ()
    """While something runs; empty where it is unknown."""
    supply: Fact
    """Voltage and source of power."""
    boards: dict[str, str] = Field(default_factory=dict)
    """Ids of calibration.csv whose rows stand for this device, with what each is."""
    latency: tuple[LatencyOf, ...] = ()
    """What latencies can be asked for; too few rows give "unknown"."""

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        from potstill.devices.forms import FORMS

        for entry in self.latency:
            if entry.board not in self.boards:
                raise ValueError(f"latency.board must be one of boards, {sorted(self.boards)}; got {entry.board!r}")
            if entry.form not in FORMS:
                raise ValueError(f"latency.form must be one of {', '.join(FORMS)}; got {entry.form!r}")
        if self.kind in ("mcu", "mcu_npu") and self.flash_bytes is None:
            raise ValueError("flash_bytes is required of a microcontroller; got nothing")
        return self

    @property
    def core(self) -> str:
        """A microcontroller's main core as compilers call it, such as "cortex-m4"; empty of others, and of cores that are no Cortex-M."""
        found = re.search(r"Cortex-(M\d+)", self.cores.text) if self.small else None
        return f"cortex-{found[1].lower()}" if found else ""

    @property
    def runtimes(self) -> tuple[LatencyOf, ...]:
        """What latencies can be asked for, generated C among them where its instructions are modelled for the core."""
        return (*self.latency, *([GENERATED_C] if self.core == "cortex-m4" else []))

    @property
    def small(self) -> bool:
        """Whether it is a microcontroller: no operating system, weights run from flash."""
        return self.kind in ("mcu", "mcu_npu")

    def facts(self) -> Iterator[tuple[str, Sourced]]:
        """Yield every fact with its name, in the order of the fields."""
        for name in type(self).model_fields:
            value = getattr(self, name)
            for fact in value if isinstance(value, tuple) else [value]:
                if isinstance(fact, Sourced):
                    yield name, fact


def read_profile(path: Path) -> DeviceProfile:
    """Return the profile in a YAML file. Raises DeviceError where it says what a profile may not."""
    import yaml

    try:
        raw: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (
        OSError,
        ValueError,
        RecursionError,
        yaml.YAMLError,
    ) as err:  # ValueError: a date that is none, bytes that are no text
        said = getattr(err, "strerror", None) or str(err).splitlines()[0]
        raise DeviceError(f"{path}: must be a profile in YAML that can be read; got {said}.") from err
    try:
        made = DeviceProfile.model_validate(raw)
    except ValidationError as err:
        faults = [f"{path} {'.'.join(map(str, e['loc'])) or 'profile'}: {_said(e)}." for e in err.errors()]
        raise DeviceError("\n".join(faults)) from err
    if made.name != path.stem:
        raise DeviceError(f"{path} name: must be the file's, {path.stem!r}; got {made.name!r}.")
    for entry in made.latency:
        if entry.rows and (Path(entry.rows).name != entry.rows or not entry.rows.endswith(".csv")):
            raise DeviceError(
                f"{path} latency.rows: must be the name of a .csv file beside the profile; got {entry.rows!r}."
            )
    beside = [e.model_copy(update={"rows": str(path.parent / e.rows)}) if e.rows else e for e in made.latency]
    return made.model_copy(update={"latency": tuple(beside)})


def _said(error: Any) -> str:
    if error["type"] == "extra_forbidden":
        where = str(error["loc"][-1])
        return f"is not a field here. {nearest(where, DeviceProfile.model_fields)}".rstrip(". ")
    if error["type"] == "missing":
        return "is required; got nothing"
    text = str(error.get("ctx", {}).get("error", error["msg"]))
    return f"{text[0].lower()}{text[1:]}"
