"""Templates: Python decides, Jinja types. The only room that knows jinja2."""

from __future__ import annotations

from functools import cache
from typing import ClassVar, Protocol

import jinja2

from bnncc._resources import resource_dir
from bnncc.diagnostics import InternalError


class TemplateArgs(Protocol):
    """The arguments of one template: a frozen dataclass; the template sees it as ``k``.

    ``template`` is the path below ``templates/``.
    """

    template: ClassVar[str]


def render(args: TemplateArgs) -> str:
    """Return the text of ``args.template`` with ``k = args``.

    Raises:
        InternalError: if the template uses what the arguments do not have, or prints a value that has no
            place in C (a bool, a float, None, a list).
    """
    try:
        return _environment().get_template(args.template).render(k=args)
    except jinja2.TemplateError as error:
        raise InternalError(f"template '{args.template}': {error}") from error


@cache
def _environment() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(resource_dir("templates")),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701 - the output is C, not HTML
        finalize=_printable,
    )


def _printable(value: object) -> object:
    """Return ``value`` if it may stand in generated source; floats go through `c_float` first."""
    if isinstance(value, bool) or not isinstance(value, (str, int, jinja2.Undefined)):
        raise jinja2.TemplateRuntimeError(f"a template may not print {value!r} ({type(value).__name__})")
    return value
