"""Facts about a data set survive JSON."""

import pytest

from cdis import data
from cdis.data.info import Info


@pytest.mark.parametrize("name", ["sprites2d/coloured", "pendulum/clean", "smallnorb"])
def test_json_gives_the_info_back(name):
    info = data.info(name)
    again = Info.from_json(info.to_json())
    assert again == info and hash(again) == hash(info)  # tuples, not lists


@pytest.mark.parametrize("text", ["[1]", "{", '{"name": "x"}', '{"unknown": 1}'])
def test_text_that_is_no_info(text):
    with pytest.raises((ValueError, TypeError)):
        Info.from_json(text)
