"""The API reference, from the docstrings: python -m sphinx -W docs/api build/api."""

import plc

project = "plc"
version = release = plc.__version__
extensions = ["sphinx.ext.autodoc", "sphinx.ext.napoleon"]
html_title = f"plc {version}: API"
html_theme_options = {"fixed_sidebar": True, "page_width": "70rem"}

autodoc_member_order = "bysource"
autodoc_typehints = "none"  # docstrings say shapes and units, too
napoleon_google_docstring = False
napoleon_use_param = False  # types of arguments are prose
napoleon_use_rtype = False

# A name of ours that a docstring refers to and nobody describes is a warning.
nitpicky = True
nitpick_ignore_regex = [("py:class", r"(?!plc\.).*")]
