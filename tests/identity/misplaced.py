"""Which events lie on other profiles than the reference says."""

from collections.abc import Hashable, Iterator, Mapping


def misplaced(stored: Mapping[str, str | None], expected: Mapping[str, Hashable]) -> Iterator[str]:
    """A sentence for each event, by guid, that shows that the two groupings are not the same."""
    there: dict[Hashable, str | None] = {}
    back: dict[str | None, Hashable] = {}
    for guid in sorted(expected):
        profile, group = stored.get(guid), expected[guid]
        if there.setdefault(group, profile) != profile or back.setdefault(profile, group) != group:
            yield f"{guid} of {group} lies on {profile}, while the group's is {there[group]}"
