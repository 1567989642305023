"""Read platform objects from files: several documents, lists, and the place of each object. Pure.

The rules are those of the vendor's ``cpln apply`` (control-plane-api.md, F177 to F180). Lists are
split into their items. A workload, an identity, a volumeset and a dbcluster belong to a GVC; a
document names it or inherits it from the previous document. Objects that others refer to come
first.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from cpln_flows.errors import Fault, ManifestError
from cpln_flows.manifest import plain, yaml_text
from cpln_flows.manifest.document import describe, text_at
from cpln_flows.model import links

_OF_GVC = frozenset({"dbcluster", "identity", "volumeset", "workload"})
_ORDER = ("agent", "secret", "cloudaccount", "gvc", "identity", "volumeset", "policy", "workload")
_LISTS = frozenset({"list", "queryresult"})


@dataclass(frozen=True)
class PlatformObject:
    """One object and its place.

    Attributes:
        kind: Kind of the object, such as ``workload``.
        name: Name of the object.
        collection: Path of the collection that it belongs to.
        body: The object as it is sent.
        source: Name of the file that contains it.
    """

    kind: str
    name: str
    collection: str
    body: Mapping[str, Any] = field(repr=False)
    source: str = ""

    @property
    def path(self) -> str:
        """Path of the object, which is also its link."""
        return f"{self.collection}/{self.name}"


def parse(text: str | bytes, *, source: str) -> list[dict[str, Any]]:
    """Decode the documents of a text, and split lists into their items.

    Args:
        text: One or several documents in YAML or JSON.
        source: Where the text comes from, for errors.

    Raises:
        ManifestError: The text is neither YAML nor JSON, or contains something other than objects.
    """
    try:
        documents = yaml_text.load(text)
    except ValueError as error:
        raise ManifestError([Fault(source, f"not YAML: {error}")]) from None
    faults: list[Fault] = []
    found = []
    for document in _taken_apart(documents):
        if isinstance(document, Mapping):
            found.append(plain.copy(document, faults))
        else:
            faults.append(Fault(source, f"expected objects, found {describe(document)}"))
    if faults:
        raise ManifestError(faults)
    return found


def placed(
    documents: Iterable[tuple[str, Mapping[str, Any]]], *, org: str, gvc: str | None
) -> list[PlatformObject]:
    """Return the objects in the order in which they can be created.

    Args:
        documents: The objects, each with the name of its file.
        org: Name of the organization.
        gvc: Name of the GVC, if one is given.

    Raises:
        ManifestError: A document is not a platform object, or its place is unknown; the error lists
            all faults.
    """
    faults: list[Fault] = []
    found, latest = [], gvc
    for source, document in documents:
        kind, name, own = (document.get(key) for key in ("kind", "name", "gvc"))
        if not isinstance(kind, str) or not links.is_name(kind):
            faults.append(
                Fault("kind", f"expected the kind of an object, found {describe(kind)}", source)
            )
        elif not isinstance(name, str) or not links.is_name(name):
            faults.append(
                Fault("name", f"expected the name of a {kind}, found {describe(name)}", source)
            )
        elif kind not in _OF_GVC:
            found.append(PlatformObject(kind, name, f"/org/{org}/{kind}", document, source))
        elif own is not None and gvc is not None and own != gvc:
            faults.append(
                Fault(
                    "gvc",
                    f"expected the given {gvc!r} or nothing, found {describe(own)}",
                    source,
                )
            )
        elif (place := own if own is not None else latest) is None or not links.is_name(str(place)):
            faults.append(
                Fault(
                    "gvc",
                    f"a {kind} belongs to a GVC: give one, or add gvc: NAME to the document",
                    source,
                )
            )
        else:
            latest = str(place)
            found.append(
                PlatformObject(kind, name, f"/org/{org}/gvc/{latest}/{kind}", document, source)
            )
    if faults:
        raise ManifestError(faults)
    return sorted(found, key=_turn)  # sorting keeps the order of objects of one kind


def _turn(one: PlatformObject) -> int:
    return _ORDER.index(one.kind) if one.kind in _ORDER else len(_ORDER)


def _taken_apart(documents: Iterable[Any]) -> Iterator[Any]:
    for document in documents:
        if isinstance(document, list):
            yield from _taken_apart(document)
        elif text_at(document, "kind") in _LISTS and isinstance(document.get("items"), list):
            yield from _taken_apart(document["items"])
        else:
            yield document
