"""Broken inputs by chance: files with mutated bytes or values, and command lines; each case hangs on its seed alone."""

from __future__ import annotations

import gzip
import importlib.util
import io
import json
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import yaml

ROOT = Path(__file__).parents[2]
ODD: list[Any] = [
    *(None, True, False, 0, -1, 1, 2, 10**30, 1e308, 1e-320, float("nan"), float("inf"), "", " ", "x", "-1", "null"),
    *("../..", "/dev/zero", "/proc/self/mem", "\x00", "\x1b[31m", "é\u202e", "a" * 5000, "world", "http://127.0.0.1:1"),
    *([], {}, [[]], [None], [{}], {"a": None}, {"x": {"x": []}}, "cmd:rm", "{question}", "1,2,3", "os:system", "~root"),
]
"""Values that no field expects."""
BYTES = [
    *(
        b"\0 \xff\xfe \xef\xbb\xbf \r \t \" ' , { } [ ] : - < > & % \\ud800 \\u0000 NaN 1e999 null true -0 *a".split(
            b" "
        )
    ),
    *(b"", b"\n\n", b"9" * 400, b"[" * 3000, b'{"a":' * 3000, b"\xf0\x9f\x98\x80", b"\xed\xa0\x80"),
    *(b"!!python/object:x", b"&a [*a]", b"<<: *x", b"<!ENTITY a 'b'>"),
]
"""Bytes that mean something to a reader."""


def mutate_bytes(data: bytes, draw: random.Random) -> bytes:
    """A few changes anywhere: bits, cuts, copies, insertions, the end."""
    changed = bytearray(data)
    for _ in range(draw.choice([1, 1, 1, 2, 5, 40])):
        at = draw.randrange(len(changed) + 1)
        end = min(len(changed), at + draw.choice([1, 2, 8, 100]))
        match draw.randrange(7):
            case 0 if at < len(changed):
                changed[at] ^= 1 << draw.randrange(8)
            case 1:
                del changed[at:end]
            case 2:
                changed[at:at] = changed[at:end]
            case 3:
                changed[at:at] = draw.choice(BYTES)
            case 4:
                changed[at:end] = draw.choice(BYTES)
            case 5:
                changed[at:at] = draw.randbytes(draw.randrange(1, 9))
            case 6 if draw.random() < 0.3:
                del changed[at:]
    return bytes(changed)


def mutate_value(value: Any, draw: random.Random) -> Any:
    """A JSON or YAML value with one of its parts replaced, removed, renamed or doubled."""
    if not isinstance(value, dict | list) or not value or draw.random() < 0.1:
        return draw.choice(ODD)
    if isinstance(value, list):
        at = draw.randrange(len(value))
        rest = [value[:at], value[at + 1 :]]
        return [*rest[0], *draw.choice([[mutate_value(value[at], draw)], [], [value[at]] * 2]), *rest[1]]
    key = draw.choice([*value])
    changed = dict(value)
    match draw.randrange(6):
        case 0:
            del changed[key]
        case 1:
            changed[draw.choice(["x", "", "__class__", f"{key} "])] = changed.pop(key)
        case _:
            changed[key] = mutate_value(value[key], draw)
    return changed


def mutate_file(path: Path, draw: random.Random) -> None:
    """Changes a file as its form allows it to be changed deeply, or its bytes."""
    data, deep = path.read_bytes(), draw.random() < 0.6
    if deep and path.suffix == ".json":
        path.write_text(json.dumps(mutate_value(json.loads(data), draw)), "utf-8")
    elif deep and path.suffix == ".jsonl":
        rows = [json.loads(line) for line in data.splitlines()]
        rows = [mutate_value(row, draw) if draw.random() < 0.7 else row for row in rows]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    elif deep and path.suffix == ".yaml":
        value = mutate_value(yaml.safe_load(data), draw)
        path.write_text(yaml.safe_dump(value, allow_unicode=draw.random() < 0.5), "utf-8")
    elif deep and data.startswith(b"PK"):
        path.write_bytes(_rezipped(data, draw))
    elif deep and data.startswith(b"\x1f\x8b"):
        path.write_bytes(gzip.compress(mutate_bytes(gzip.decompress(data), draw)))
    elif draw.random() < 0.02:
        path.unlink()
        draw.choice([path.mkdir, lambda: path.symlink_to("/dev/zero"), lambda: path.symlink_to(path.name)])()
    else:
        path.write_bytes(mutate_bytes(data, draw))


def _rezipped(data: bytes, draw: random.Random) -> bytes:
    """A ZIP file that is whole, with a changed file in it."""
    source, out = ZipFile(io.BytesIO(data)), io.BytesIO()
    chosen = draw.choice(source.namelist())
    with ZipFile(out, "w") as target:
        for name in source.namelist():
            content = source.read(name)
            target.writestr(name, mutate_bytes(content, draw) if name == chosen else content)
    return out.getvalue()


def documents(folder: Path) -> None:
    """A folder of documents in fifteen forms."""
    spec = importlib.util.spec_from_file_location("many_formats", ROOT / "examples" / "many_formats.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.write(module.FILES, folder)


def listing(folder: Path) -> set[str]:
    """The names of all files in a folder."""
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()}


def copy(source: Path, target: Path) -> Path:
    """A copy of a file or folder, to break."""
    if source.is_dir():
        return Path(shutil.copytree(source, target))
    return Path(shutil.copyfile(source, target))


def words(draw: random.Random, options: list[Any], names: list[str]) -> Iterator[str]:
    """Some options of a command with values, most of them wrong, and some arguments.

    ``options`` are click's; ``names`` are files and folders that are there.
    """
    values = [
        *(text for text in map(str, ODD) if "\0" not in text),
        *names,
        *names,
        "1",
        "2",
        "3",
        "0.5",
        "ours",
        "multi",
        "direct",
        "gold",
        "md",
        "german",
    ]
    flags = [one for one in options if one.param_type_name == "option" and one.name not in ("help", "probe", "online")]
    arguments = [one for one in options if one.param_type_name == "argument"]
    for _ in arguments:
        if draw.random() < 0.9:
            yield draw.choice([*names, *names, draw.choice(values)])
    for option in draw.sample(flags, min(len(flags), draw.choice([0, 1, 1, 2, 4]))):
        yield draw.choice(option.opts)
        if not option.is_flag or draw.random() < 0.1:
            yield from (draw.choice(values) for _ in range(max(1, option.nargs)))
    if draw.random() < 0.1:
        yield draw.choice(["--nothing", "-", "--", "-k", "--json=1", "--help"])
