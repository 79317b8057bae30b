"""Real files of seventeen kinds, read or refused as their manifest demands."""

import pytest

from benchmarks.reading import read_all, real_files

NEEDED = pytest.mark.skipif(
    real_files() is None, reason="set ANGLER_DATA to the folder that holds files/manifest.jsonl"
)


@NEEDED
def test_every_well_formed_file_is_read_with_its_passages_and_the_others_refused_with_a_reason():
    outcomes = list(read_all(real_files(), ["text", "password", "empty", "reject", "damaged"]))

    assert len(outcomes) > 50
    assert [(one.name, one.reason, one.missing) for one in outcomes if not one.is_right] == []
    assert all(one.reason.endswith(".") for one in outcomes if one.state == "refused")
    assert max(one.seconds for one in outcomes) < 60
