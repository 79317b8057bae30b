"""Numbered clauses of contracts, laws and manuals: where each begins and what belongs to it."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest

from indexing.structure import Block

_CHINESE_NUMBER = r"[一二三四五六七八九十百千零〇两\d]{1,8}"
_TITLE = (
    rf"第{_CHINESE_NUMBER}(?:部分|[编章节部])|(?:Chapter|CHAPTER|Part|PART)[ ](?:\d+|[IVXLC]+)\b"
)
_ARTICLE = (
    rf"第{_CHINESE_NUMBER}[条款]"
    r"|(?:Article|ARTICLE|Section|SECTION|Clause|CLAUSE|Rule|RULE)[ ](?:\d+(?:\.\d+)*|[IVXLC]+)\b"
    r"|§[ ]?\d+(?:\.\d+)*"
    r"|\d{1,3}(?:\.\d{1,3}){1,5}(?=[.)、]?(?:\s|[\u4e00-\u9fff]))"
)
LABEL = re.compile(rf"^[ \t\u3000]*(?:\*\*)?(?:(?P<title>{_TITLE})|{_ARTICLE})[.:)、]?", re.M)


@dataclass(frozen=True, slots=True)
class Part:
    """A block, and how far what belongs to it reaches."""

    block: Block
    end: int
    """The end of the clause that the block begins; the block's own where it begins none."""
    is_clause: bool


def parts(text: str, blocks: Sequence[Block]) -> list[Part]:
    """Cut blocks before numbered clauses, such as 第三条, Article 5 and 1.2.3.

    A clause reaches to the next one; the title of a chapter belongs to the first clause below it.
    """
    found: list[Part] = []
    labelled = [one for block in blocks for one in _labelled(text, block)]
    end = following = blocks[-1].end if blocks else 0
    for block, label in reversed(labelled):
        if label is None:
            found.append(Part(block, block.end, is_clause=False))
        else:
            # Nothing stands between a chapter's title and what `end` is the start of.
            is_bare = label["title"] is not None and not text[block.end : end].strip()
            found.append(Part(block, following if is_bare else end, is_clause=True))
            following = found[-1].end
            end = block.start
    return found[::-1]


def _labelled(text: str, block: Block) -> Iterator[tuple[Block, re.Match[str] | None]]:
    labels = [] if block.is_code else list(LABEL.finditer(text, block.start, block.end))
    if not labels or labels[0].start() > block.start:
        yield replace(block, end=labels[0].start() if labels else block.end), None
    for label, following in zip_longest(labels, labels[1:]):
        end = following.start() if following is not None else block.end
        yield replace(block, start=label.start(), end=end), label
