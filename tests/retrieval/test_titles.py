"""Titles are found in one string with their texts, in each of its forms."""

from __future__ import annotations

import pytest

from ragr1_lite.retrieval.titles import split_contents


@pytest.mark.parametrize(
    ("contents", "title", "text"),
    [
        ('"Chad"\nIs a\ncountry.', "Chad", "Is a\ncountry."),
        ('"The "Tome""\n', 'The "Tome"', ""),
        ('""\ntext', "", "text"),
        ('"' + "long " * 60 + '"\ntext', "long " * 60, "text"),
        ("Chad \nIs a country.", "Chad", "Is a country."),
        ("Chad   Is a country.", "Chad", "Is a country."),
        ('"Chad"   Is a country.', "Chad", "Is a country."),
        ("Chad   is\na country.", "Chad   is", "a country."),
        ("Is a country.", "", "Is a country."),
        ("word " * 60 + "\nmore", "", "word " * 60 + "\nmore"),
        ("word " * 60 + "   more", "", "word " * 60 + "   more"),
        ("", "", ""),
    ],
)
def test_title_and_text_come_apart(contents: str, title: str, text: str) -> None:
    assert split_contents(contents) == split_contents(contents, "") == (title, text)


@pytest.mark.parametrize(
    ("contents", "text"),
    [
        ('"Chad"\nIs a country.', "Is a country."),
        ("Chad\nIs a country.", "Is a country."),
        ("Chad   Is a country.", "Is a country."),
        ("Chad", "Chad"),
        ("Its north\nis dry.", "Its north\nis dry."),
        ("Is a   country.", "Is a   country."),
    ],
)
def test_a_known_title_is_taken_off(contents: str, text: str) -> None:
    assert split_contents(contents, "Chad") == ("Chad", text)
