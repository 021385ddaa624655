"""What a user asks of an image: values that can be set, and those that cannot."""

import dataclasses

import pytest

from cdis import data
from cdis.apply import read_do
from cdis.data.info import Info
from cdis.errors import UserError

INFO = Info(
    name="shade",
    factor_names=("light", "shadow"),
    factor_sizes=(0, 0),
    circular=(False, False),
    image_shape=(8, 8, 1),
    licence="none",
    citation="none",
    description="A light and its shadow.",
    count=4,
    graph=((0, 0), (1, 0)),
    value_mean=(10.0, -1.0),
    value_std=(2.0, 0.5),
)


def test_a_factor_and_its_value():
    assert read_do("light=12.5", INFO) == (0, 12.5)
    assert read_do("shadow=-2.5", INFO) == (1, -2.5)  # three standard deviations away


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("light", "write NAME=VALUE"),
        (
            "lihgt=1",
            "no factor 'lihgt' \\(did you mean 'light'\\?\\). Its factors are light, shadow",
        ),
        ("light=16.1", "16.1 is out of range. Give light a number from 4 to 16, 3 standard"),
        ("light=bright", "bright is out of range"),
        ("light=nan", "nan is out of range"),
        ("light=", "nothing is out of range"),
    ],
)
def test_what_cannot_be_set_is_refused(text, message):
    with pytest.raises(UserError, match=message):
        read_do(text, INFO)


def test_factors_without_values():
    grid = dataclasses.replace(data.info("sprites2d/coloured"), value_mean=None, value_std=None)
    with pytest.raises(UserError, match="use --action, one of shape\\+1"):
        read_do("hue=1", grid)
