"""Trains the toy method: run_toy.py WORKDIR [FIELD=VALUE ...]

With ``kill=STEP`` or ``term=STEP`` the process sends itself SIGKILL or SIGTERM once that step has
been dispatched.
"""

import os
import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import toy_method

from cdis import data
from cdis.config import override
from cdis.errors import UserError
from cdis.training import loop
from cdis.training.log import Window

data.load = toy_method.load

fields = dict(argument.split("=") for argument in sys.argv[2:])
signals = {
    int(fields.pop(name)): number
    for name, number in (("kill", signal.SIGKILL), ("term", signal.SIGTERM))
    if name in fields
}
add = Window.add


def add_and_signal(self, step, metrics):
    if step in signals:
        os.kill(os.getpid(), signals.pop(step))
    add(self, step, metrics)


Window.add = add_and_signal
config = toy_method.get_config()
override(config, fields)
try:
    loop.train(config, sys.argv[1])
except UserError as error:
    sys.exit(f"UserError: {error}")
