"""Tells the language of a text from its script and its commonest words; knows no model."""

import re
from collections import Counter

SAMPLE = 20_000
"""Characters that are looked at."""

_RUNS = re.compile(
    r"(?P<han>[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff])|(?P<kana>[\u3041-\u30ff])"
    r"|(?P<hangul>[\uac00-\ud7af])|(?P<latin>[A-Za-z\u00c0-\u024f]+)|(?P<other>[^\W\d_])"
)
_LATIN = re.compile(r"[A-Za-z\u00c0-\u024f]+")
_KANA_SHARE = 0.1
"""Japanese has at least this share of kana among its characters; Chinese quotes fewer."""
_COMMON_WORDS = {
    "en": "a the of and to in is for that with on as are it this be by from or you not can",
    "de": "der die das und ist nicht ein eine mit den von zu auf für im sich des dem auch",
    "fr": "le la les des et est une un dans pour que qui sur pas du au avec ne ce plus",
    "es": "el la los las de y que en un una es por con para del se no su al como",
    "it": "il lo la gli le di e che un una per non con del della sono è nel come",
    "pt": "o a os as de e que em um uma é por com para do da não se no na",
    "nl": "de het een en van is dat niet op te met voor zijn aan er ook als bij",
}
_LANGUAGES = {
    word: [language for language, words in _COMMON_WORDS.items() if word in words.split()]
    for words in _COMMON_WORDS.values()
    for word in words.split()
}


def language_of(text: str) -> str | None:
    """The language that most of a text is in, such as `en` or `zh`; None where it is hard to say.

    Latin letters without accents and without common words of another language count as English.
    """
    text = text[:SAMPLE]
    if text.isascii():  # most English texts; nothing but Latin words can be in them
        return _latin(text) if _LATIN.search(text) else None
    runs = Counter(match.lastgroup for match in _RUNS.finditer(text))
    east_asian = {name: runs[name] for name in ("han", "kana", "hangul")}
    # A Chinese character weighs as much as a Latin word: names and terms do not outweigh the rest.
    most = max(sum(east_asian.values()), runs["latin"], runs["other"])
    if most == 0 or most == runs["other"]:
        return None
    if most > runs["latin"]:
        return _east_asian(**east_asian)
    return _latin(text)


def _east_asian(han: int, kana: int, hangul: int) -> str:
    if hangul > han + kana:
        return "ko"
    return "ja" if kana > _KANA_SHARE * (han + kana) else "zh"


def _latin(text: str) -> str | None:
    counts: Counter[str] = Counter()
    for word, count in Counter(_LATIN.findall(text)).items():
        for language in _LANGUAGES.get(word.lower(), ()):
            counts[language] += count
    best = counts.most_common(1)
    if not best:
        return "en" if text.isascii() else None
    language, count = best[0]
    return "en" if counts["en"] == count else language
