"""Mathematics as MathML, made when the site is built: browsers draw it without a script.

The font is the site's own (`static/fonts`). LaTeX that cannot be read is a warning: `make docs` fails.
"""

from __future__ import annotations

from html import escape

from docutils import nodes
from math_core import LatexError, LatexToMathML
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.writers.html5 import HTML5Translator

_LOG = logging.getLogger(__name__)
_CONVERTER = LatexToMathML(allow_unreliable_rendering=True, fancy_error=False, annotation=False)


def mathml(node: nodes.math | nodes.math_block, display: bool) -> str:
    """Convert an equation, or warn that it cannot be read, and show it as it was written."""
    try:
        return _CONVERTER.convert_with_local_state(node.astext(), displaystyle=display)
    except LatexError as error:
        _LOG.warning("equation: %s: %s", error, node.astext(), location=node)
        return f"<code>{escape(node.astext())}</code>"


def _inline(translator: HTML5Translator, node: nodes.math) -> None:
    translator.body.append(mathml(node, display=False))
    raise nodes.SkipNode


def _block(translator: HTML5Translator, node: nodes.math_block) -> None:
    translator.body.append(f'<div class="equation">{mathml(node, display=True)}</div>')
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx."""
    app.add_html_math_renderer("mathml", inline_renderers=(_inline, None), block_renderers=(_block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
