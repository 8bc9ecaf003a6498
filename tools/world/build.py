"""Writes one question of each kind, with its gold plans."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import islice, product

from ragr1_lite.core.types import Example, GoldPlan, Step
from ragr1_lite.world import Search, WorldQuestion
from tools.world.attributes import Attribute, Key, names_of
from tools.world.compare import Rivals
from tools.world.everyday import Item
from tools.world.passages import capitalized, neighbours_of, series, title_of
from tools.world.tables import Country, Entity, pick


def one_hop(entity: Entity, attribute: Attribute) -> WorldQuestion:
    """Asks for one attribute of one entity."""
    id = f"one-hop-{attribute.name}-{entity.id}"
    question = pick(attribute.ask, id).format(x=entity.spoken)
    search = _search(attribute, entity)
    step = Step(f"I need {attribute.noun} of {entity.spoken}.", (search.query,))
    answers = attribute.read(entity)
    plan = GoldPlan((step,), attribute.state(entity), answers[0])
    return _question(Example(id, question, answers, "one-hop", hops=1), (search,), plan, plan)


def bridge(entity: Entity, key: Key, target: Attribute) -> WorldQuestion:
    """Asks for an attribute of an entity that is only described: it has to be found first."""
    id = f"bridge-{key.attribute.name}-{target.name}-{entity.id}"
    value, answers = key.attribute.read(entity)[0], target.read(entity)
    description = pick(key.describe, f"{id}:key").format(v=value)
    find = Search(key.query.format(v=value), key.attribute.passages(entity))
    search = _search(target, entity)
    noun = "country" if isinstance(entity, Country) else "element"
    first = Step(f"I need {target.noun} of {description}. First I find that {noun}.", (find.query,))
    found = capitalized(key.found.format(v=value, x=entity.spoken))
    second = Step(f"{found} Now I need {target.noun} of {entity.spoken}.", (search.query,))
    plan = GoldPlan((first, second), target.state(entity), answers[0])
    question = pick(target.ask, id).format(x=description)
    return _question(Example(id, question, answers, "bridge", hops=2), (find, search), plan, plan)


def compare(entities: Sequence[Entity], rivals: Rivals) -> WorldQuestion:
    """Asks which of two or three entities has the most of something; the order is the caller's."""
    kind = f"compare-{len(entities)}"
    id = f"{kind}-{rivals.attribute.name}-{'-'.join(entity.id for entity in entities)}"
    numbers = [int(getattr(entity, rivals.number)) for entity in entities]
    spoken = [entity.spoken for entity in entities]
    if len(entities) == 2:
        question = pick(rivals.two, id).format(a=spoken[0], b=spoken[1])
    else:
        question = pick(rivals.more, id).format(all=series(spoken), any=series(spoken, "or"))
    winner = entities[rivals.rule.winner(numbers)]
    think = rivals.rule.explain([entity.name for entity in entities], numbers)
    facts = [f"{entity.name}: {rivals.attribute.read(entity)[0]}." for entity in entities]
    example = Example(id, question, _names(winner), kind, hops=len(entities))
    return _parallel(example, entities, rivals.attribute, facts, f"Compare: {think}", "To compare, ")


def listing(entities: Sequence[Entity], attribute: Attribute, ask: Sequence[str]) -> WorldQuestion:
    """Asks for one attribute of several entities, in the order of the question."""
    id = f"list-{attribute.name}-{'-'.join(entity.id for entity in entities)}"
    question = pick(ask, id).format(all=series([entity.spoken for entity in entities]))
    values = [attribute.read(entity) for entity in entities]
    facts = [f"{entity.name}: {value[0]}." for entity, value in zip(entities, values, strict=True)]
    answers = tuple(", ".join(combination) for combination in islice(product(*values), 64))
    example = Example(id, question, answers, "list", hops=len(entities))
    return _parallel(example, entities, attribute, facts, f"List: {' '.join(facts)}", "To list them, ")


def intersection(rows: Sequence[Country], attribute: Attribute, common: str) -> WorldQuestion:
    """Asks for the one country that borders all of some countries."""
    id = f"intersection-{'-'.join(row.id for row in rows)}"
    spoken = series([row.spoken for row in rows])
    both = "both " if len(rows) == 2 else ""
    ask = (
        f"Which country borders {both}{spoken}?",
        f"Which country is a neighbour of {both}{spoken}?",
        f"Which country shares a border with {both}{spoken}?",
    )
    facts = [f"{row.name} borders {neighbours_of(row)}." for row in rows]
    think = f"Match: {' '.join(facts)} In {'both' if len(rows) == 2 else 'all'}: {common}."
    example = Example(id, pick(ask, id), names_of(common), "intersection", hops=len(rows))
    return _parallel(example, rows, attribute, facts, think, "To match them, ")


def everyday(item: Item) -> WorldQuestion:
    """A question that needs no search."""
    plan = GoldPlan((), item.think, item.answers[0])
    example = Example(f"everyday-{item.id}", item.question, item.answers, "everyday", hops=1)
    return _question(example, (), plan, plan)


def _parallel(
    example: Example, entities: Sequence[Entity], attribute: Attribute, facts: Sequence[str], think: str, aim: str
) -> WorldQuestion:
    """Plans for sub-questions that do not depend on each other: all at once, or one a round with what was found.

    ``aim`` opens the first thought: without it, a small model takes one kind for another.
    """
    searches = tuple(_search(attribute, entity) for entity in entities)
    need = (
        f"{aim}I need {attribute.noun} of {series([f'of {entity.spoken}' for entity in entities]).removeprefix('of ')}."
    )
    multi = GoldPlan((Step(need, tuple(search.query for search in searches)),), think, example.answers[0])
    thoughts = [f"{need} First {entities[0].spoken}."]
    thoughts += [f"{fact} Next {entity.spoken}." for fact, entity in zip(facts, entities[1:], strict=False)]
    steps = tuple(Step(thought, (search.query,)) for thought, search in zip(thoughts, searches, strict=True))
    return _question(example, searches, multi, GoldPlan(steps, think, example.answers[0]))


def _question(example: Example, searches: tuple[Search, ...], multi: GoldPlan, single: GoldPlan) -> WorldQuestion:
    """The question, with the titles of the passages its searches are for."""
    titles = dict.fromkeys(title_of(search.passages[0]) for search in searches)
    return WorldQuestion(replace(example, titles=tuple(titles)), searches, multi, single)


def _search(attribute: Attribute, entity: Entity) -> Search:
    return Search(attribute.query.format(x=entity.name), attribute.passages(entity))


def _names(entity: Entity) -> tuple[str, ...]:
    return names_of(entity.name) if isinstance(entity, Country) else (entity.name, *entity.aliases)
