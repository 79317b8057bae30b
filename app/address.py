"""What a link to a search holds; knows no screen."""

from collections.abc import Mapping
from dataclasses import dataclass

from app.language import LANGUAGES
from indexing.hits import Mode

DEFAULT_MODE = Mode.HYBRID
COUNTS = (5, 10, 20)
"""How many results a reader may ask for."""
DEFAULT_COUNT = 10
LONGEST_QUERY = 1_000
"""Characters; more neither fits into a link well nor into an encoder."""
LONGEST_FILTER = 500
MOST_BASES = 20


@dataclass(frozen=True, kw_only=True)
class Address:
    """A search as its link names it."""

    query: str = ""
    mode: Mode = DEFAULT_MODE
    count: int = DEFAULT_COUNT
    bases: tuple[str, ...] = ()
    """Numbers of the knowledge bases to search; none means all."""
    filter: str = ""
    rerank: bool = False
    language: str

    @classmethod
    def read(cls, parameters: Mapping[str, str], language: str) -> "Address":
        """Read a link's parameters; what is missing or unknown takes its default.

        Args:
            parameters: Anything at all: links are typed and cut by people.
            language: The one to use where the link names none.
        """
        mode, count = parameters.get("mode", ""), parameters.get("k", "")
        named = parameters.get("lang", "")
        bases = parameters.get("kb", "").split(",")
        return cls(
            query=parameters.get("q", "")[:LONGEST_QUERY],
            mode=Mode(mode) if mode in list(Mode) else DEFAULT_MODE,
            count=int(count) if count in map(str, COUNTS) else DEFAULT_COUNT,
            bases=tuple(dict.fromkeys(filter(None, bases)))[:MOST_BASES],
            filter=parameters.get("filter", "").strip()[:LONGEST_FILTER],
            rerank=parameters.get("rerank") == "1",
            language=named if named in LANGUAGES else language,
        )

    def parameters(self, language: str) -> dict[str, str]:
        """The link's parameters.

        Args:
            language: The browser's own, which a link without a search need not name.
        """
        chosen = {"kb": ",".join(self.bases)} if self.bases else {}
        if not self.query.strip():
            return chosen | ({} if self.language == language else {"lang": self.language})
        found = {"q": self.query, "mode": str(self.mode), "k": str(self.count)}
        found |= chosen
        if self.filter:
            found["filter"] = self.filter
        if self.rerank:
            found["rerank"] = "1"
        return {**found, "lang": self.language}
