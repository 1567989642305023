"""The table names what the platform has, each permission once, and the smallest."""

import pytest

from cpln_flows.emulator.permissions import permissions_of
from cpln_flows.provision import grants, permissions
from cpln_flows.provision.permissions import NEEDS, STANDARD, SUMMARIES, Feature, Holder


def _included(kind: str, permission: str) -> set[str]:
    schema = permissions_of(kind)
    found = set(schema[permission])
    return found.union(*(_included(kind, one) for one in found))


@pytest.mark.parametrize("need", NEEDS, ids=lambda need: need.id)
def test_permission_is_one_of_the_platform_with_what_it_implies(need) -> None:
    assert need.permission in permissions_of(need.kind)
    assert set(grants.implied(need.kind, need.permission)) == _included(need.kind, need.permission)


def test_each_permission_stands_once_and_none_is_a_whole_set() -> None:
    assert len({need.id for need in NEEDS}) == len(NEEDS)
    assert not {need.permission for need in NEEDS} & {"manage", "exec"}


def test_every_feature_is_described_and_needs_something() -> None:
    assert set(SUMMARIES) == {need.feature for need in NEEDS} == set(Feature)


def test_standard_features_leave_out_what_changes_the_installation() -> None:
    holders = {need.holder for need in permissions.of(*STANDARD)}
    assert holders == set(Holder) - {Holder.PROVISIONER}


def test_feature_brings_what_it_is_built_on() -> None:
    assert {need.feature for need in permissions.of(Feature.SECRETS)} == {"jobs", "secrets"}
    assert {need.feature for need in permissions.of(Feature.SYNC)} == {"sync"}
