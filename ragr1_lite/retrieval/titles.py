"""Title and text where a corpus, or another server, has them in one string."""

from __future__ import annotations

_LONGEST_TITLE = 200


def split_contents(contents: str, title: str | None = None) -> tuple[str, str]:
    r"""Takes ``contents`` apart into title and text.

    The title is the first line, in quotes (Search-R1's Wikipedia) or short enough for one; where there is one line, it
    ends at three spaces (RAG-R1's). Without either, all is text. A ``title`` known from elsewhere is kept, and removed
    from the start of the text.

    Example:
        >>> split_contents('"Chad"\nA country.')
        ('Chad', 'A country.')
    """
    head, parted, rest = contents.partition("\n")
    if not parted:
        head, parted, rest = contents.partition("   ")
    head = head.strip()
    quoted = len(head) > 1 and head[0] == head[-1] == '"'
    head = head[1:-1] if quoted else head
    if title:
        return title, rest if parted and head == title.strip() else contents
    return (head, rest) if parted and (quoted or len(head) <= _LONGEST_TITLE) else ("", contents)
