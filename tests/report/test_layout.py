"""The report folder's names, and links that lead where they say."""

from hmmdyn.report import layout


def test_links_between_pages_lead_to_each_other(tmp_path):
    (group,) = layout.group_folders(["a group/of mine"])
    for start, link, end in (
        ("", layout.TO_RECOMMENDED, layout.RECOMMENDED),
        (layout.RECOMMENDED, layout.FROM_RECOMMENDED, ""),
        ("", layout.to_page_in(group), group),
        (group, layout.FROM_GROUP, ""),
    ):
        (tmp_path / start).mkdir(parents=True, exist_ok=True)
        assert (tmp_path / start / link).resolve() == (tmp_path / end / layout.PAGE).resolve()


def test_groups_have_folders_of_their_own_whatever_their_names():
    folders = layout.group_folders(["a/b", "a?b", "..", ""])
    assert folders == ["groups/1-a-b", "groups/2-a-b", "groups/3-unnamed", "groups/4-unnamed"]


def test_reports_below_are_looked_for_where_they_are_written(tmp_path):
    for place in (layout.RECOMMENDED, *layout.group_folders("ab")):
        (tmp_path / place).mkdir(parents=True)
    assert set(layout.places_of_reports(tmp_path)) == {
        layout.RECOMMENDED,
        *layout.group_folders("ab"),
    }
