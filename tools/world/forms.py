"""Sentence forms of the passages, several to choose from for each fact.

Fields of countries: n name, N name inside a sentence, C name at its start, r region, c capital, h highest point,
m metres, a area, p population, y year of independence, t internet domain, b neighbours. Fields of elements: e name,
E name at the start, s symbol, z atomic number, k category, ak category with an article, f state, w atomic weight,
y year, d discoverer.
"""

from __future__ import annotations

GEOGRAPHY_TITLE = (
    "{n}: highest point and area",
    "Geography of {n}: area and highest point",
    "Highest point and area of {n}",
    "{n} (area, highest point)",
)
HIGHEST = (
    "The highest point of {N} is {h}, which rises to {m} m above sea level.",
    "{h}, at {m} m, is the highest point of {N}.",
    "At {m} m above the sea, {h} is the highest point of {N}.",
    "{C} reaches its highest point at {h}, {m} m above sea level.",
)
HEIGHT_ALONE = (
    "The highest point of {N} lies {m} m above sea level.",
    "{C} reaches its highest point at {m} m above the sea.",
)
AREA = (
    "{C} covers an area of {a} square kilometres.",
    "The area of {N} is {a} square kilometres, with lakes and rivers.",
    "With its inland waters, {N} has an area of {a} square kilometres.",
    "In all, the area of {N} comes to {a} square kilometres.",
)
PLACE = (
    "Maps of {r} show its plains, hills and shores or frontiers in detail.",
    "On a globe one finds the country in {r}, in the colour of its choice.",
    "Geographers count the land as part of {r} and draw it on their maps.",
    "Travellers who come to {r} see its landscapes from trains, buses and planes.",
)
PEOPLE_TITLE = (
    "{n}: capital and population",
    "People of {n}: population and capital",
    "Capital and population of {n}",
    "{n} (population, capital)",
)
PEOPLE_ONLY_TITLE = ("{n}: population", "Population of {n}", "People of {n}: population")
CAPITAL = (
    "The capital of {N} is {c}.",
    "{c} is the capital of {N}.",
    "{C}, a country in {r}, has {c} as its capital.",
    "The capital city of {N} is {c}.",
)
POPULATION = (
    "The population of {N} is {p}, as a recent estimate has it.",
    "A recent estimate puts the population of {N} at {p} people.",
    "{C} has a population of {p} people by a recent estimate.",
    "The population of {N} was lately estimated at {p}.",
)
CENSUS = (
    "Such numbers change from year to year with births, deaths and migration.",
    "The number counts everyone who lives there, young and old, in towns and villages.",
    "Between two censuses the number is estimated anew every year.",
    "It changes a little with every month that passes, mostly through births and deaths.",
)
HISTORY_TITLE = (
    "{n}: independence and internet domain",
    "History of {n}: independence and internet domain",
    "Independence and internet domain of {n}",
    "{n} (internet domain, independence)",
)
INDEPENDENCE = (
    "{C} gained its independence in {y}.",
    "The year of independence of {N} is {y}.",
    "Independence came to {N} in {y}.",
    "In {y} the independence of {N} began.",
)
NO_INDEPENDENCE = (
    "The independence of {N} is not dated to one single year.",
    "Books give more than one date, or none, for the independence of {N}.",
)
DOMAIN = (
    "The internet domain of {N} is {t}.",
    "On the internet, the domain of {N} is {t}.",
    "Web addresses may end with {t}, the internet domain of {N}.",
    "{t} is the internet domain of {N}, seen on web pages and letters.",
)
PAST = (
    "School books of the country tell what came before and after.",
    "Museums keep documents, uniforms and photographs of those times.",
    "Stamps, flags, songs and street names recall the past.",
    "Historians have written long books about the years before and after.",
)
BORDERS_TITLE = (
    "Neighbours and land borders of {n}",
    "{n}: neighbours and borders on land",
    "{n} and its neighbours beyond the border",
    "{n} (neighbours, land borders)",
)
NEIGHBOURS = (
    "The neighbours of {N} are {b}.",
    "{C} has land borders with these neighbours: {b}.",
    "By land, the neighbours of {N} are {b}.",
    "{b} are the neighbours of {N}.",
)
ONE_NEIGHBOUR = (
    "Of possible neighbours {N} has only one: {b}.",
    "Among the neighbours of {N} by land there is only {b}.",
)
ONE_OF_THE_NEIGHBOURS = ("Among the neighbours of {N} by land there is {b}.", "One of the neighbours of {N} is {b}.")
FRONTIER = (
    "Frontiers at sea are not counted here, nor those of territories overseas, for they follow other rules.",
    "Travellers by road or rail cross a frontier there, with passports and luggage checked at many of the posts.",
    "Rivers, hills or straight lines on the map mark the frontiers, and guards watch some of them day and night.",
    "Only frontiers on land are named in this list; those at sea would need another one, which is longer.",
)
CITY = (
    "{c} is the capital of {N}, a country in {r}. As its capital, {c} is marked on every map of the country, "
    "often with a star or a larger dot.",
    "The city of {c} is the capital of the country {n}. Many travellers to {r} pass through {c} "
    "and look at its squares, streets and markets.",
    "In {r}, {c} is known as the capital of a country: {n}. Postcards from {c} show its streets and markets "
    "by day and by night.",
    "{c} is a city in {r}. It is the capital of the country {n}. The streets of {c} are busy by day, "
    "and its offices close towards evening.",
)
MOUNTAIN = (
    "{h} is the highest point of {N}, a country in {r}. It rises {m} m above the sea. "
    "No place in that country lies higher than {h}.",
    "The summit of {h} lies {m} m above sea level. In {N}, a country in {r}, {h} is the highest point.",
    "At {m} m, {h} is the highest point of a country in {r}: {n}. From the top of {h} the view is wide on clear days.",
    "Those who stand on {h} have reached the highest point of the country {n}, in {r}, {m} m above the sea. "
    "{h} is found on many maps.",
)
SHARED_MOUNTAIN = (
    "{h} stands on a frontier: at {m} m above the sea it is the highest point of {both}. "
    "{h} can be seen from either side."
)

SYMBOL_TITLE = (
    "{E}: symbol and atomic number",
    "{E} ({s}): symbol and atomic number",
    "Symbol and atomic number of {e}",
    "The element {e}: symbol {s}, atomic number {z}",
)
SYMBOL = (
    "{E} is a chemical element. The symbol of {e} is {s}, and the atomic number of {e} is {z}. "
    "Each atom with the symbol {s} holds {z} protons.",
    "The chemical element {e} has the symbol {s} and the atomic number {z}. "
    "Chemists write the symbol {s} for {e} whenever they note down formulas.",
    "{s} is the symbol of the chemical element {e}. On the periodic table {e} has the atomic number {z}, "
    "the number of protons of one atom of {s}.",
    "The element {e}, with the symbol {s}, has the atomic number {z}. The symbol {s} stays the same for all languages, "
    "whatever name {e} has there.",
)
PROPERTIES_TITLE = (
    "{E}: category, state and atomic weight",
    "Properties of {e}: category, state, atomic weight",
    "Category, state and atomic weight of {e}",
)
CATEGORY = (
    "The category of {e} is {k}.",
    "In the periodic table, {e} belongs to the category {k}.",
    "By category, {e} counts as {ak}.",
)
STATE = (
    "The state of {e} at room temperature is {f}.",
    "At room temperature the state of {e} is {f}.",
    "{E} is in the state called {f} at room temperature.",
)
WEIGHT = (
    "The atomic weight of {e} is {w}.",
    "{E} has an atomic weight of {w}.",
    "Rounded to two places, its atomic weight is {w}.",
)
RADIOACTIVE = ("Every form of {e} is radioactive.", "All atoms of {e} decay, for it is radioactive.")
LAB = (
    "Tables list such properties for students and laboratories.",
    "Such properties decide how a substance is stored and used.",
    "Such properties follow from the way its electrons are arranged.",
)
DISCOVERY_TITLE = ("Discovery of {e}", "{E}: discovery", "The discovery of {e}", "{E} (discovery)")
FOUND = (
    "{E} was discovered by {d}. The discovery of {e} took place in {y}.",
    "The discovery of {e} in {y} is the work of {d}.",
    "In {y} came the discovery of {e}, made by {d}.",
)
FOUND_YEAR = ("The discovery of {e} took place in {y}.", "In {y} came the discovery of {e}.")
FOUND_BY = ("The discovery of {e} is the work of {d}.", "{E} was discovered by {d}, a discovery that made a name.")
FOUND_LONG_AGO = (
    "The discovery of {e} has no date: people have known {e} since ancient times.",
    "{E} has been known since ancient times, so its discovery belongs to nobody.",
)
CHEMISTRY = (
    "Histories of chemistry tell how new elements were found, named and argued about.",
    "New elements were often found in ores, gases or light that nobody could explain at first.",
    "It took careful work with scales, flames and acids, or with machines, to find new elements.",
)
