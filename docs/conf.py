"""How the documentation is built: `python3 dev.py docs`. Nothing is fetched while it is."""

from importlib.metadata import version as version_of
from typing import Any

from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment

project = "bookmark-orm"
author = "The bookmark-orm authors"
version = release = version_of(project)

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_click"]
exclude_patterns = ["_build"]
default_role = "py:obj"  # the docstrings' `Name`; what is not documented here stays plain code

autodoc_default_options = {"members": True}
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
napoleon_numpy_docstring = False
napoleon_custom_sections = [
    ("Raises by any statement and at the end of a transaction", "params_style"),
]
nitpicky = True
# Objects of other projects cannot be looked up offline, and arguments are no objects at all.
nitpick_ignore_regex = [("py:.*", r"(?!orm\.).*")]
# Internal things that public signatures and docstrings mention.
nitpick_ignore = [
    ("py:class", "orm.servers.cluster.Cluster"),
    ("py:class", "orm.connection._T"),
    ("py:class", "orm.database._S"),
    ("py:class", "orm.database._T"),
    ("py:class", "orm.chain._T"),
    ("py:class", "orm.web.crowds.Crowd"),
    ("py:class", "orm.backends.sqlite.replication.replicator.Replicator"),
    ("py:class", "orm.session.SupportsSessions"),
    ("py:class", "orm.routing.rules.Rules"),
    ("py:class", "orm.routing.session.RoutedSession"),
    ("py:class", "orm.testing.postgresql.node.Node"),
    ("py:class", "orm.servers.server.Server"),
    ("py:class", "orm.web.fastapi.request_session.<locals>.session"),
    ("py:obj", "orm.backends.sqlite.replication"),
    ("py:obj", "orm.testing.plugin"),
]

myst_heading_anchors = 3

html_theme = "furo"
pygments_dark_style = "github-dark"  # furo's underlines every class and module
html_title = f"{project} {version}"
html_show_sphinx = False
html_show_copyright = False
html_copy_source = False


def find_by_name(app: Sphinx, env: BuildEnvironment, node: pending_xref, content: Any) -> Any:
    """Resolve a name without its module, as docstrings have it, if only one thing is so called."""
    wanted = node.get("reftarget", "")
    domain = env.domains.python_domain
    found = [
        name
        for name, entry in domain.objects.items()
        if name.rpartition(".")[2] == wanted and not entry.aliased
    ]
    if node.get("refdomain") != "py" or len(found) != 1:
        return None
    source = node["refdoc"]
    return domain.resolve_xref(env, source, app.builder, "obj", found[0], pending_xref(), content)


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    app.connect("missing-reference", find_by_name)
