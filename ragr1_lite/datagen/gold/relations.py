"""Words for the relations of evidence triples, and for the countries that are their objects."""

from __future__ import annotations

from dataclasses import dataclass

from ragr1_lite.datagen.gold.text import words

_IRREGULAR = {
    "applies to jurisdiction": ("{s} jurisdiction", "whose law {s} belongs to", "{s} belongs to the law of {o}"),
    "award received": ("{s} award received", "which award {s} received", "{s} received {o}"),
    "capital of": ("{s} capital of", "what {s} is the capital of", "{s} is the capital of {o}"),
    "country of citizenship": ("{s} nationality", "the nationality of {s}", "the nationality of {s} is {o}"),
    "educated at": ("{s} educated at", "where {s} was educated", "{s} was educated at {o}"),
    "follows": ("{s} follows", "what {s} follows", "{s} follows {o}"),
    "founded by": ("{s} founded by", "who founded {s}", "{s} was founded by {o}"),
    "instance of": ("{s}", "what {s} is", "{s} is of this kind: {o}"),
    "licensed to broadcast to": ("{s} licensed city", "where {s} broadcasts", "{s} broadcasts to {o}"),
    "located in or next to body of water": ("{s} body of water", "which water {s} lies by", "{s} lies by {o}"),
    "located in the administrative territorial entity": ("{s} located in", "where {s} is located", "{s} is in {o}"),
    "member of political party": ("{s} party", "the political party of {s}", "the political party of {s} is {o}"),
    "member of sports team": ("{s} team", "the team of {s}", "the team of {s} is {o}"),
    "part of": ("{s} part of", "what {s} is part of", "{s} is part of {o}"),
    "place of birth": ("{s} place of birth", "where {s} was born", "{s} was born in {o}"),
    "place of death": ("{s} place of death", "where {s} died", "{s} died in {o}"),
    "shares border with": ("{s} border", "what {s} borders on", "{s} borders on {o}"),
}

_COUNTRIES = """
American=United States=U.S.=US=USA=United States of America
British=United Kingdom=U.K.=UK=Great Britain
Argentine=Argentinian=Argentina|Belgian=Belgium|Brazilian=Brazil|Canadian=Canada|Chilean=Chile|Chinese=China
Czech=Czech Republic|Danish=Denmark|Dutch=Netherlands|Egyptian=Egypt|English=England|Filipino=Philippines
Finnish=Finland|French=France|German=Germany|Greek=Greece|Hungarian=Hungary
Icelandic=Iceland|Iranian=Iran|Iraqi=Iraq|Irish=Ireland
Israeli=Israel|Italian=Italy|Japanese=Japan|Lebanese=Lebanon|Mexican=Mexico|Moroccan=Morocco|New Zealander=New Zealand
Norwegian=Norway|Pakistani=Pakistan|Peruvian=Peru|Polish=Poland|Portuguese=Portugal|Scottish=Scotland|Slovak=Slovakia
Slovene=Slovenian=Slovenia|Soviet=Soviet Union|Spanish=Spain|Swedish=Sweden|Swiss=Switzerland|Taiwanese=Taiwan
Thai=Thailand|Turkish=Turkey|Ukrainian=Ukraine|Vietnamese=Vietnam|Welsh=Wales
"""
_ALIKE = [entry.split("=") for entry in _COUNTRIES.replace("\n", "|").split("|") if entry]
_FORMS = {words(form): tuple(forms) for forms in _ALIKE for form in forms}
"""All of a country's forms, by each of them."""


@dataclass(frozen=True, slots=True)
class Relation:
    """What is searched, what is looked for and what was found, in words; ``{s}`` is the subject, ``{o}`` the object.

    ``place`` is ``country`` or ``nationality`` where the object is one, which passages write as noun or adjective.
    """

    query: str
    asks: str
    says: str
    place: str = ""

    def objects(self, value: str) -> tuple[str, ...]:
        """The ways to write an object; a thought takes the first."""
        ways = {"country": (value, *spellings(value)), "nationality": (*spellings(value), value)}
        return tuple(dict.fromkeys(ways.get(self.place, (value,))))


def relation(name: str) -> Relation:
    """The words for a relation of Wikidata's or of a set's own.

    >>> relation("director").says, relation("place of birth").says
    ('the director of {s} is {o}', '{s} was born in {o}')
    """
    name = name.strip().replace("{", "(").replace("}", ")")
    regular = (f"{{s}} {name}", f"the {name} of {{s}}", f"the {name} of {{s}} is {{o}}")
    query, asks, says = _IRREGULAR.get(name) or regular
    place = "nationality" if name == "country of citizenship" else "country" if name.startswith("country") else ""
    return Relation(query, asks, says, place)


def spellings(name: str) -> tuple[str, ...]:
    """The noun and the adjective of a country that is given as either: ``India``, ``an Indian film``.

    >>> spellings("Italy"), spellings("South Korean")
    (('Italian', 'Italy'), ('South Korean', 'South Korea'))
    """
    noun = name[:-1] if name.endswith("an") else name
    return _FORMS.get(words(name)) or ((f"{noun}n", noun) if noun.endswith("a") else (name,))


def country(name: str) -> str:
    """What is equal for any two names of one country, and for nothing else."""
    return words(spellings(name)[0])
