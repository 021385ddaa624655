"""Import rules, and things that the code must not contain."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MODULES = sorted((ROOT / "cdis").rglob("*.py"))

# Part of cdis -> the parts that it may import, beside itself and what all may.
_ALL_MAY = ("chunks", "errors", "files", "imports", "__init__")
_PURE = {"ops"}
_LEARNING = _PURE | {"networks", "objectives", "data", "methods"}
_TRAINING = _LEARNING | {"config", "metrics", "training"}
MAY_IMPORT = {
    "chunks": set(),
    "errors": set(),
    "files": set(),
    "imports": set(),
    "memory": set(),
    "compiled": set(),
    "completion": set(),
    "help_texts": set(),
    "config": set(),
    "ops": set(),
    "networks": _PURE,
    "objectives": _PURE,
    "data": _PURE,
    "metrics": _PURE,
    "methods": _LEARNING | {"config"},
    "training": _TRAINING,
    "trained": _LEARNING,
    "measure": _TRAINING | {"trained"},
    "image_files": {"data"},
    "run": _TRAINING | {"compiled", "measure", "trained"},
    "pairs": _PURE | {"data", "image_files", "metrics", "run", "trained"},
    "exports": {"data", "image_files", "measure", "run", "trained"},
    "cli": _TRAINING
    | {"compiled", "completion", "exports", "help_texts", "image_files", "measure", "memory"}
    | {"pairs", "run"},
    "__init__": {"metrics", "run"},
    "__main__": {"cli"},
}


def imports(path: Path) -> set[str]:
    """Full names of the modules that a file imports, at any place in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import"
            # `from cdis.methods import base` imports cdis.methods.base, if that is a module.
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                is_module = (ROOT / full.replace(".", "/")).with_suffix(".py").exists() or (
                    ROOT / full.replace(".", "/")
                ).is_dir()
                found.add(full if is_module else node.module or "")
    return found


def part(module: str) -> str:
    """ "cdis.training.loop" -> "train" """
    return module.split(".")[1] if "." in module else "__init__"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_one_way(path):
    here = part(".".join(path.relative_to(ROOT).with_suffix("").parts))
    for module in imports(path):
        if module.split(".")[0] != "cdis" or part(module) in (here, *_ALL_MAY):
            continue
        assert part(module) in MAY_IMPORT[here], f"{here} may not import {module}"
        if part(module) == "methods" and here != "methods":
            # Methods are found through config.method alone, so that a new one edits no other file.
            assert module in ("cdis.methods", "cdis.methods.base")


def test_measurements_do_not_import_what_walks_over_them():
    """`measure` alone knows all measurements; a measurement is a file that nothing else names."""
    folder = ROOT / "cdis" / "measure"
    walkers = {"catalogue", "comparison", "evaluation", "reporting", "summary"}
    parts = [path for path in folder.glob("*.py") if path.stem not in walkers | {"__init__"}]
    assert parts
    for path in parts:
        whole = {"cdis.measure", *(f"cdis.measure.{name}" for name in walkers)} & imports(path)
        assert not whole, f"{path.name} imports {whole}"
    listed = {module.rpartition(".")[2] for module in imports(folder / "catalogue.py")}
    measurements = {path.stem for path in parts if "MEASUREMENT = " in path.read_text()}
    assert measurements <= listed, f"catalogue.py does not list {measurements - listed}"
    for name in walkers - {"catalogue"}:
        named = imports(folder / f"{name}.py") & {f"cdis.measure.{m}" for m in measurements}
        assert not named, f"{name}.py knows {named}"


def test_the_rules_allow_no_way_back():
    for one, allowed in MAY_IMPORT.items():
        for other in allowed - {one}:
            assert one not in MAY_IMPORT[other], f"{one} and {other} may import each other"


def test_only_parallel_uses_pmap():
    def uses(path):
        nodes = ast.walk(ast.parse(path.read_text()))
        return any("pmap" in (getattr(n, "attr", ""), getattr(n, "id", "")) for n in nodes)

    assert [path.name for path in MODULES if uses(path)] == ["parallel.py"]


def test_nothing_imports_tensorflow():
    for path in [*MODULES, *(ROOT / "experiments").rglob("*.py")]:
        assert not {module for module in imports(path) if module.split(".")[0] == "tensorflow"}


def test_importing_everything_needs_no_tensorflow_and_the_command_line_not_even_jax():
    names = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in MODULES]
    names = [name.removesuffix(".__init__") for name in names if not name.endswith("__main__")]
    program = f"""
import importlib, sys
import cdis.cli
slow = {{"jax", "numpy", "tensorflow_datasets", "orbax"}} & set(sys.modules)
assert not slow, slow
for name in {names}:
    importlib.import_module(name)
assert "jax" in sys.modules and "tensorflow" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_top_level_entries():
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    entries = {line.split("/")[0] for line in listed.stdout.splitlines()}
    files = {"README.md", "LICENSE", "pyproject.toml", ".gitignore"}
    assert entries <= files | {".ci", "cdis", "experiments", "tests", "tools"}
