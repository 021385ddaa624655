"""The README: its Python runs, its excerpts and links are real, and it stays short."""

import re
from pathlib import Path

import pytest

import cdis
from cdis.cli import COMMANDS

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
PYTHON, EXTEND = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
PAGES = ["README.md", "experiments/README.md", "cdis/data/data_sets.md", "cdis/data/own_data.md"]


@pytest.mark.slow
def test_the_python_runs(tmp_path, monkeypatch):
    """On a run of two steps, in place of the one that tools/quickstart trains."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CDIS_DATA_DIR", str(tmp_path / "data"))
    cdis.train("ct_vae/quickstart:smoke", "runs/quickstart")
    names: dict = {}
    exec(PYTHON, names)
    images, codes, action_names = names["images"], names["codes"], names["run"].actions
    assert images.shape == names["after"].shape == (691, 32, 32, 3)
    assert codes.shape == (691, 8) and len(PYTHON.splitlines()) == 11
    assert names["probability"].shape == (691, len(action_names)) == (691, 10)
    assert set(names["scores"]["metrics"]) == {"mig", "mcc"}


def test_excerpts_are_lines_of_the_examples():
    lines = {}
    for part in re.split(r"(?m)^# ", EXTEND)[1:]:
        name, *code = part.splitlines()
        lines[name.split(",")[0]] = [line.strip() for line in code if line.strip()]
    assert set(lines) == {"bars.py", "adversarial.py", "triplets.py", "sharpness.py"}
    for name, excerpt in lines.items():
        whole = [line.strip() for line in (ROOT / "tests/extend" / name).read_text().splitlines()]
        assert not set(excerpt) - set(whole), name


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    links = re.findall(r"\]\(([^)]+)\)", (ROOT / page).read_text())
    for link in links:
        here = (ROOT / page).parent / link
        assert link.startswith("https://") or here.exists(), link


def test_commands_exist():
    named = set(re.findall(r"(?m)^    cdis (\w+)", README))
    assert named <= {name.split()[0] for name in COMMANDS}
    assert {"train", "evaluate", "report", "retrieve", "intervene", "compare", "score"} <= named
    assert {"sample", "encode"} <= named


def test_it_is_short():
    assert len(README.splitlines()) <= 150
