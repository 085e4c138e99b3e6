"""The documentation site: `make docs` builds it from this folder's pages and the docstrings into build/site.

The pages are Markdown that is read on GitHub too. What the site adds to them is in `_site/`.
"""

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "_site"))

from secateur import __version__  # noqa: E402  # after the path

project = "Secateur"
release = version = __version__
copyright = "the authors of Secateur"
language = "en"
smartquotes_action = "D"  # dashes alone: "params=25%" is to be copied

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "navigation",
    "github",
    "docstrings",
    "links",
    "mathml",
    "excerpts",
]
root_doc = "index"
exclude_patterns = ["_site"]
nitpicky = False  # the types of torch have no pages here
highlight_language = "text"  # a block says what it is; one that does not is output or a command
suppress_warnings = ["config.cache"]  # none is silenced that tells of a page

myst_enable_extensions = ["dollarmath", "amsmath"]
myst_heading_anchors = 4  # as GitHub names them
myst_links_external_new_tab = False

autodoc_typehints = "description"
autodoc_typehints_format = "short"
autodoc_typehints_description_target = "documented"
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_inherit_docstrings = False
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 100
napoleon_numpy_docstring = False
napoleon_use_ivar = True
myst_fence_as_directive = ["math"]
napoleon_custom_sections = [("Reference", "notes_style"), ("References", "notes_style")]
napoleon_preprocess_types = True
default_role = "code"  # `x` in a docstring is code, as in Markdown
add_module_names = False
toc_object_entries_show_parents = "hide"

html_theme = "furo"
html_title = "Secateur"
html_static_path = ["_site/static"]
html_css_files = ["secateur.css"]
html_copy_source = False
html_show_sphinx = False
html_theme_options = {"navigation_with_keys": True}
html_math_renderer = "mathml"
