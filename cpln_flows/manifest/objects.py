"""Objects of the platform as files have them: several documents, lists, and where each belongs. Pure.

The rules are those of the vendor's ``cpln apply`` (control-plane-api.md, F177 to F180): lists are taken apart; a workload, an
identity, a volumeset and a dbcluster belong to a GVC, which a document names or takes from the one before it; what others refer
to comes first.
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
    """One object, and where it belongs.

    Attributes:
        kind: Such as ``workload``.
        name: Its name.
        collection: Path of the collection that it is put into.
        body: What is sent.
        source: The file that it stands in.
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
    """Decode the documents of a text, with lists taken apart.

    Args:
        text: One or several documents in YAML or JSON.
        source: Where it comes from, for errors.

    Raises:
        ManifestError: It is neither YAML nor JSON, or something else than objects.
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
    """Return the objects in the order in which they can be made.

    Args:
        documents: The objects, each with the file that it stands in.
        org: Name of the organization.
        gvc: Name of the GVC, if one is given.

    Raises:
        ManifestError: Something is no object of the platform, or it cannot be told where it belongs; all faults at once.
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
                    f"expected {gvc!r}, which is given, or nothing, found {describe(own)}",
                    source,
                )
            )
        elif (place := own if own is not None else latest) is None or not links.is_name(str(place)):
            faults.append(
                Fault(
                    "gvc",
                    f"a {kind} belongs to a GVC: give one, or write gvc: NAME into the document",
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
    return sorted(found, key=_turn)  # sorting keeps the order of those that have the same turn


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
