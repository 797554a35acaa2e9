"""What holds for every Spec, of whatever family."""

from __future__ import annotations

import json
from typing import Any, get_args

from pydantic import TypeAdapter, ValidationError

from potstill.core.hashing import StatCache, canonical_json
from potstill.core.spec import Registry, Spec
from potstill.testing._claims import Claims, claims_of


def check_spec(spec: Spec, registry: Registry[Any] | None = None, family: str = "spec") -> None:
    """Check that a spec is closed, frozen and described, that JSON carries it, and that its identity is whole.

    Args:
        spec: any.
        registry: of its family, whose union must choose it by `kind`; None skips that.
        family: singular, for messages.

    Raises:
        AssertionError: something does not hold; says what.
    """
    claims = claims_of(family, spec)
    _check_described(claims, type(spec))
    text = spec.model_dump_json()
    again = type(spec).model_validate(json.loads(text))
    claims.that(again == spec, "must come back from its own JSON", sent=text, back=again.model_dump_json())
    if registry is not None:
        kind = get_args(type(spec).model_fields["kind"].annotation)[0]
        claims.that(kind in registry.kinds() and registry[kind] is type(spec), "must be registered under its kind")
        chosen = TypeAdapter(registry.union()).validate_python(json.loads(text))
        claims.that(type(chosen) is type(spec) and chosen == spec, "must be chosen by its kind", chosen=chosen)
    given = {name: getattr(spec, name) for name in type(spec).model_fields}
    claims.refuses(
        lambda: type(spec).model_validate({**given, "no_such_field": 1}),
        ValidationError,
        "must refuse an unknown field",
    )
    name = next(iter(given))
    claims.refuses(lambda: setattr(spec, name, given[name]), ValidationError, "must be frozen")
    digests = StatCache()
    identity = canonical_json(spec.identity(digests.digest))
    claims.that(identity == canonical_json(again.identity(digests.digest)), "must keep its identity through JSON")
    missing = set(given) - set(json.loads(identity))
    claims.that(not missing, "must have every field in its identity", missing=sorted(missing))
    claims.that(type(spec).__module__ in set(spec.modules()), "must count its own source in its key")


def _check_described(claims: Claims, cls: type[Spec]) -> None:
    claims.that(cls.__doc__ and cls.__doc__.strip() != (Spec.__doc__ or "").strip(), "must have a docstring of its own")
    bare = [n for n, f in cls.model_fields.items() if n != "kind" and not (f.description or "").strip()]
    claims.that(not bare, "must have a docstring line under every field", without=bare)
    if "kind" in cls.model_fields:
        field = cls.model_fields["kind"]
        kinds = get_args(field.annotation)
        claims.that(
            len(kinds) == 1 and field.default == kinds[0], "must have a one-valued Literal as kind, its own default"
        )
