"""Links to a search."""

from hypothesis import given
from hypothesis import strategies as st

from app.address import COUNTS, LONGEST_QUERY, Address
from app.language import LANGUAGES
from indexing.hits import Mode

LANGUAGE = st.sampled_from(sorted(LANGUAGES))
SEARCHES = st.builds(
    Address,
    query=st.text(max_size=50).filter(str.strip),
    mode=st.sampled_from(Mode),
    count=st.sampled_from(COUNTS),
    language=LANGUAGE,
)


@given(SEARCHES, LANGUAGE, LANGUAGE)
def test_a_link_gives_the_same_search_to_everyone(address, mine, yours):
    assert Address.read(address.parameters(mine), yours) == address


@given(st.dictionaries(st.sampled_from(["q", "mode", "k", "lang", "x"]), st.text()), LANGUAGE)
def test_any_link_can_be_read(parameters, language):
    address = Address.read(parameters, language)

    assert address.count in COUNTS
    assert address.language in LANGUAGES
    assert len(address.query) <= LONGEST_QUERY


def test_without_a_search_a_link_names_a_language_only_if_it_is_not_the_browsers():
    assert Address(language="en").parameters("en") == {}
    assert Address(language="zh").parameters("en") == {"lang": "zh"}
