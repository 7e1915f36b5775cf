"""The config of every layer in every configuration of the parity tests: each library makes a layer from the other's."""

from __future__ import annotations

import json
from typing import Any

import keras
import pytest

import lamella
from tests.parity.cases import CASES, Case


def there(config: Any) -> Any:
    return json.loads(json.dumps(config))


def alike(config: Any) -> Any:
    """A config without names, which count upwards, and with one number for a list of one.

    The layers inside a Bidirectional are named and told apart where Keras leaves the second to be made from the first.
    """
    if isinstance(config, dict) and config.get("class_name") == "DTypePolicy":
        return config["config"]["name"]
    if isinstance(config, dict):
        config = config | {"data_format": "channels_last"} if config.get("data_format", "") is None else config
        return {k: alike(v) for k, v in config.items() if k not in ("name", "layer", "backward_layer")}
    if isinstance(config, list):
        return alike(config[0]) if len(config) == 1 else [alike(item) for item in config]
    return config


@pytest.mark.parametrize("case", CASES, ids=str)
def test_configs_go_both_ways(case: Case) -> None:
    ours, theirs = case.make(lamella), case.make(keras)
    read = lamella.layers.deserialize(there(keras.layers.serialize(theirs)))
    written = keras.layers.deserialize(there(lamella.layers.serialize(ours)))
    assert alike(there(read.get_config())) == alike(there(ours.get_config()))
    assert alike(there(written.get_config())) == alike(there(theirs.get_config()))
