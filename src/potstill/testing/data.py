"""The contract of a data source. Shapes: N rows."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from potstill.core.progress import Progress
from potstill.core.samples import FORMS
from potstill.data import DataSpec, Source, registry
from potstill.data.dataset import SPLITS, Dataset, prepare
from potstill.testing._claims import Claims, claims_of
from potstill.testing.spec import check_spec


def check_data_source(spec: DataSpec) -> None:
    """Check that a source gives the rows it says, of the shape it says, twice alike, and that they can be prepared.

    Args:
        spec: of a source with a few rows of each class.

    Raises:
        AssertionError: something does not hold; says what.
    """
    check_spec(spec, registry, "data source")
    claims = claims_of("data source", spec)
    source = spec.open()
    claims.that("train" in source.splits, "must have a split 'train'", splits=sorted(source.splits))
    claims.that(set(source.splits) <= set(SPLITS), f"must name its splits as {SPLITS}", splits=sorted(source.splits))
    shape, form = source.shape, FORMS[source.kind]
    claims.that(
        spec.gives() == source.kind, "gives() must say what the source is of", gives=spec.gives(), kind=source.kind
    )
    fits = len(shape) == form.ndim and min(shape) >= 1 and (source.kind != "image" or shape[2] <= 4)
    claims.that(fits, f"shape must be {form.shape}", shape=shape)
    if source.classes is not None:
        distinct = len({str(c) for c in source.classes}) == len(source.classes)
        claims.that(
            distinct and len(source.classes) >= (2 if source.target_shape is None else 1),
            "classes must be distinct names, two or more",
            classes=source.classes,
        )
    for name in source.splits:
        _check_split(claims, spec, source, name)
    with tempfile.TemporaryDirectory() as folder:
        digests = []
        for part in ("a", "b"):
            out = Path(folder) / part
            out.mkdir()
            prepare(spec, out, Progress("quiet"))
            digests.append(Dataset.open(out).digest)
        claims.that(digests[0] == digests[1], "must be prepared to the same bytes twice")


def _check_split(claims: Claims, spec: DataSpec, source: Source, name: str) -> None:
    reader = source.splits[name]
    names: list[str] = []
    reads = []
    dtype = np.dtype(FORMS[source.kind].dtype)
    for chunk in reader.chunks():
        samples, labels, of_rows = chunk.samples, chunk.labels, chunk.names
        claims.that(
            samples.dtype == dtype and samples.shape == (len(samples), *source.shape),
            f"chunks of {name!r} must be {dtype} [n, {', '.join(map(str, source.shape))}]", dtype=samples.dtype,
            shape=samples.shape,
        )  # fmt: skip
        claims.that(labels.dtype == np.int64 and labels.shape == samples.shape[:1], "labels must be int64 [n]", dtype=labels.dtype, shape=labels.shape)  # fmt: skip
        claims.that(
            len(of_rows) == len(samples), "must name each row of a chunk", names=len(of_rows), rows=len(samples)
        )
        claims.that(
            (chunk.targets is None) == (source.target_shape is None), "must give targets where target_shape says so"
        )
        names += of_rows
        reads.append((samples.copy(), labels.copy()))
    claims.that(
        len(names) == reader.num_rows, f"chunks of {name!r} must add up to num_rows={reader.num_rows}", rows=len(names)
    )
    claims.that(all(names) and len(set(names)) == len(names), "must give each row a name of its own", names=names[:3])
    known = np.concatenate([labels for _, labels in reads])
    highest = len(source.classes) - 1 if source.classes is not None else int(known.max())
    highest = 0 if source.target_shape is not None else highest
    claims.that(
        known.min() >= -1 and known.max() <= highest,
        f"labels must be in -1..{highest}",
        found=sorted(set(known.tolist())),
    )
    again = spec.open().splits[name]
    for (samples, labels), chunk in zip(reads, again.chunks(), strict=True):
        claims.equal(chunk.samples, samples, "must give the same samples each time")
        claims.equal(chunk.labels, labels, "must give the same labels each time")
