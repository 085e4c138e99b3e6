"""How our pages are made of templates: everything is escaped, and a name that is missing is an error."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import jinja2


def environment(package: str) -> jinja2.Environment:
    """The templates that lie in `package`, a dotted name, and the `partials/` of all our pages."""
    import jinja2

    packages = dict.fromkeys((package, "secateur.report"))
    return jinja2.Environment(
        loader=jinja2.ChoiceLoader([jinja2.PackageLoader(name, "") for name in packages]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
