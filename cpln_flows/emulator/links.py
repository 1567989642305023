"""Build links between objects, and expand the short form ``//kind/name`` to the full one."""

from __future__ import annotations

from cpln_flows.emulator.answers import Document

SCOPED_KINDS = ("workload", "identity", "volumeset", "dbcluster")
_LINK_KEYS = ("image", "inboundAllowWorkload")
_LINK_SUFFIXES = ("Link", "Links")


def org_link(org: str) -> str:
    """Return the link of an organization."""
    return f"/org/{org}"


def collection_link(org: str, kind: str, gvc: str | None = None) -> str:
    """Return the link of a collection."""
    return f"/org/{org}/{kind}" if gvc is None else f"/org/{org}/gvc/{gvc}/{kind}"


def last_segment(link: str) -> str:
    """Return the name at the end of a link."""
    return link.rsplit("/", 1)[-1]


def qualify(org: str, link: str, gvc: str | None = None) -> str:
    """Return a link in its full form; ``//identity/NAME`` is in the GVC of its holder."""
    if gvc is not None and link.startswith("//identity/"):
        return f"{collection_link(org, 'gvc')}/{gvc}/{link[2:]}"
    return f"/org/{org}/{link[2:]}" if link.startswith("//") else link


def qualify_all(
    org: str, content: object, *, gvc: str | None = None, within_link: bool = False
) -> object:
    """Return a document with every link in its full form.

    Only fields for links are changed: an argument or a variable may legitimately begin with two
    slashes.
    """
    if isinstance(content, str):
        return qualify(org, content, gvc) if within_link else content
    if isinstance(content, list):
        return [qualify_all(org, item, gvc=gvc, within_link=within_link) for item in content]
    if isinstance(content, dict):
        return {key: _qualify_field(org, gvc, key, value) for key, value in content.items()}
    return content


def _qualify_field(org: str, gvc: str | None, key: str, value: object) -> object:
    if key in ("env", "args", "data", "tags"):
        return value
    return qualify_all(
        org, value, gvc=gvc, within_link=key in _LINK_KEYS or key.endswith(_LINK_SUFFIXES)
    )


def link_list(**links: str) -> list[Document]:
    """Return the ``links`` of an object."""
    return [{"rel": rel, "href": href} for rel, href in links.items()]
