"""Compare the profiles of stored events with the reference."""

from collections.abc import Hashable, Iterator, Mapping


def misplaced(stored: Mapping[str, str | None], expected: Mapping[str, Hashable]) -> Iterator[str]:
    """Yield a sentence for each event that is not grouped as expected, by guid.

    Args:
        stored: profile of each event, by guid.
        expected: group of each event, by guid; the names of groups do not matter.
    """
    profile_of_group: dict[Hashable, str | None] = {}
    group_of_profile: dict[str | None, Hashable] = {}
    for guid in sorted(expected):
        profile, group = stored.get(guid), expected[guid]
        if (
            profile_of_group.setdefault(group, profile) != profile
            or group_of_profile.setdefault(profile, group) != group
        ):
            yield f"{guid} of {group} is on {profile}, but the group has {profile_of_group[group]}"
