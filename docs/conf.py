"""The site's configuration: `./scripts/docs` builds it."""

import os
import sys
from pathlib import Path

from decloud_pl import __version__
from decloud_pl.children import begin_imports

# The reference imports torch, and a build ends soon.
begin_imports()
sys.path.insert(0, str(Path(__file__).parent / "_ext"))

# Defaults are shown, not what this machine sets.
os.environ.pop("DECLOUD_HOME", None)

project = "decloud_pl"
author = "the authors of decloud_pl"
release = version = __version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_click",
    "sphinx_copybutton",
    "generated",
    "links",
]
exclude_patterns = ["_build", "_ext", "_static"]
root_doc = "index"

# Pages are Markdown. `#heading` of another page can be linked to; a target that is not there is a warning.
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

# Docstrings write names of code in single backticks.
default_role = "code"
highlight_language = "text"
autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_preserve_defaults = True
autodoc_inherit_docstrings = False  # Lightning describes its own hooks
autodoc_default_options = {"members": True}
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True

# The classes of other libraries, and those that are not public here, have no page to link to: the site works offline.
nitpicky = True
nitpick_ignore_regex = [("py:.*", r"(?!decloud_pl\.(Session|LocalNetwork|DeltaCallback|Round\w+)$).*")]

# A prompt and what a command prints are not copied with it.
copybutton_prompt_text = r"\$ "
copybutton_prompt_is_regexp = True

html_theme = "pydata_sphinx_theme"
html_title = "decloud_pl"
html_static_path = ["_static", "pictures"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sourcelink = False
# Pages without siblings need no list of them.
html_sidebars = {page: [] for page in ("index", "troubleshooting", "contributing", "changelog")}
html_theme_options = {
    "navbar_align": "left",
    "navbar_end": ["theme-switcher"],
    "header_links_before_dropdown": 5,
    "show_prev_next": False,
    "footer_start": ["copyright"],
    "footer_end": [],
    "secondary_sidebar_items": ["page-toc"],
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
}
