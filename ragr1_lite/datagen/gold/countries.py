"""Countries as nouns and as adjectives: evidence says ``India`` where the passage says ``an Indian film``."""

from __future__ import annotations

from ragr1_lite.datagen.gold.text import words

_TABLE = """
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
_ALIKE = [entry.split("=") for entry in _TABLE.replace("\n", "|").split("|") if entry]
_FORMS = {words(form): tuple(forms) for forms in _ALIKE for form in forms}
"""By any of a country's forms, all of them."""


def spellings(name: str) -> tuple[str, ...]:
    """The noun and the adjective of a country that is given as either.

    >>> spellings("Italy"), spellings("South Korean")
    (('Italian', 'Italy'), ('South Korean', 'South Korea'))
    """
    noun = name[:-1] if name.endswith("an") else name
    return _FORMS.get(words(name)) or ((f"{noun}n", noun) if noun.endswith("a") else (name,))


def country(name: str) -> str:
    """What is equal for any two names of one country, and for nothing else."""
    return words(spellings(name)[0])
