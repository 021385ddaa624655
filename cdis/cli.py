"""The command line: flags only; the modules that it calls do the work.

Nothing that is slow to import is imported here, so that ``--help`` answers at once.
"""

import ast
import contextlib
import errno
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from absl import flags, logging

import cdis
from cdis import help_texts
from cdis.errors import UserError, near_miss
from cdis.memory import keep_freed_memory

#: More steps than this take too long to search.
_MOST_STEPS = 9
_FIXABLE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES)


class Command(NamedTuple):
    """What a command takes and what it does."""

    help: str  #: the first line is its summary
    run: Callable[..., None]
    required: tuple[str, ...] = ()  #: flags with a value
    optional: tuple[str, ...] = ()
    repeated: tuple[str, ...] = ()  #: optional flags that may be given several times
    switches: tuple[str, ...] = ()  #: flags without a value
    #: what else it takes, in this order; "DIR ..." for one or more, "[DIR ...]" for any number
    arguments: tuple[str, ...] = ()
    instead: str | None = None  #: a flag that can be given in place of `arguments`
    compiles: bool = False  #: let JAX keep what it compiles (`cdis.compiled`) before `run`
    details: Callable[[], str] = lambda: ""  #: the end of the help, made when it is shown

    @property
    def flags(self) -> tuple[str, ...]:
        """All flags."""
        return self.required + self.optional + self.repeated + self.switches


def main(arguments: list[str] | None = None) -> int:
    """Run a command and return the exit status: 0, or 2 for an error that the user can fix."""
    logging.set_verbosity(logging.WARNING)
    keep_freed_memory()
    try:
        _run(sys.argv[1:] if arguments is None else arguments)
    except UserError as error:
        print(f"cdis: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        if error.errno not in _FIXABLE:
            raise
        place = error.filename or "a file could not be written"
        print(
            f"cdis: {error.strerror}: {place}. Free space or allow access there, or choose another "
            "place, and run the command again.",
            file=sys.stderr,
        )
        return 2
    except KeyboardInterrupt:
        print("cdis: interrupted", file=sys.stderr)
        return 130
    return 0


def _run(arguments: list[str]) -> None:
    name, *rest = arguments or ["--help"]
    if name in ("-h", "--help"):
        summaries = {key.split()[0]: command.help for key, command in COMMANDS.items()}
        listed = [f"  {key:13}{text.splitlines()[0]}" for key, text in summaries.items()]
        print(help_texts.HELP.format(commands="\n".join(listed)), end="")
        return
    if name == "--version":
        print(f"cdis {cdis.__version__}")
        return
    if name == "data":
        if not rest or rest[0] in ("-h", "--help"):
            print(help_texts.DATA, end="")
            return
        name, rest = f"data {rest[0]}", rest[1:]
    if name not in COMMANDS:
        what = "flag" if name.startswith("-") else "command"
        raise UserError(
            f"There is no {what} {name!r}{near_miss(name, COMMANDS)}. The command comes first, one "
            f"of {', '.join(COMMANDS)}. See cdis --help."
        )
    command = COMMANDS[name]
    if "-h" in rest or "--help" in rest:
        print(command.help + command.details(), end="")
        return
    overrides, rest = _take_overrides(rest) if "config" in command.flags else ({}, rest)
    values, others = _parse(name, rest)
    if command.compiles:
        from cdis.compiled import keep_compiled_programs

        keep_compiled_programs()
    command.run(values, *others, **({"overrides": overrides} if "config" in command.flags else {}))


def _parse(name: str, arguments: list[str]) -> tuple[flags.FlagValues, list[str]]:
    """The flags of a command and its other arguments, given in any order."""
    command, see = COMMANDS[name], f"See cdis {name} --help."
    values = flags.FlagValues()
    values.set_gnu_getopt(True)
    for flag in command.required + command.optional:
        flags.DEFINE_string(flag, None, "", flag_values=values, allow_overwrite=False)
    for flag in command.repeated:
        flags.DEFINE_multi_string(flag, [], "", flag_values=values)
    for flag in command.switches:
        flags.DEFINE_bool(flag, False, "", flag_values=values, allow_overwrite=False)
    try:
        others = values(["cdis", *arguments])[1:]
    except flags.UnrecognizedFlagError as error:
        near = near_miss(f"--{error.flagname}", [f"--{flag}" for flag in command.flags])
        raise UserError(f"cdis {name} has no flag --{error.flagname}{near}. {see}") from error
    except flags.Error as error:
        raise UserError(f"cdis {name}: {error}. {see}") from error
    for flag in command.required:
        if not values[flag].value:
            raise UserError(f"cdis {name} needs --{flag}. {see}")
    least = sum(not argument.startswith("[") for argument in command.arguments)
    endless = any("..." in argument for argument in command.arguments)
    wanted = " and ".join(command.arguments) or "nothing"
    if command.instead and values[command.instead].value:
        least, wanted = 0, f"nothing with --{command.instead}"
    if len(others) < least or (len(others) > least and not endless):
        given = ", ".join(others) or "nothing"
        raise UserError(f"Beside flags, cdis {name} takes {wanted}, but was given {given}. {see}")
    return values, others


def _take_overrides(arguments: list[str]) -> tuple[dict[str, str], list[str]]:
    """Takes ``--config.FIELD=VALUE`` and ``--config.FIELD VALUE`` out of the arguments."""
    overrides, others, remaining = {}, [], iter(arguments)
    for argument in remaining:
        found = re.fullmatch(r"--?config\.([^=]+)(?:=(.*))?", argument, re.DOTALL)
        if found is None:
            others.append(argument)
            continue
        field, value = found.groups()
        value = next(remaining, None) if value is None else value
        if value is None:
            raise UserError(f"{argument} needs a value. See cdis train --help.")
        if field in overrides:
            raise UserError(
                f"--config.{field} is given twice, as {overrides[field]} and as {value}. Give it "
                "once. See cdis train --help."
            )
        overrides[field] = value
    return overrides, others


def _train(values: flags.FlagValues, overrides: dict[str, str]) -> None:
    from cdis.config import load_config, override

    config = load_config(values.config, overrides)  # its errors come before JAX is imported
    if values.resize:
        override(config, {"data.name": _resized(config.data.name, values.resize)})

    from cdis.compiled import keep_compiled_programs
    from cdis.training.loop import train

    keep_compiled_programs()
    train(config, values.workdir, values.data_dir, feed=values.feed or "auto")


def _evaluate(values: flags.FlagValues) -> None:
    from cdis.measure import evaluate, headlines

    metrics = evaluate(values.workdir, values.data_dir, name=values.data)
    print("", *headlines(metrics), sep="\n")


def _metrics_help() -> str:
    from cdis.metrics.scoring import metrics_help

    return f"{metrics_help()}\n"


def _score(values: flags.FlagValues) -> None:
    from cdis.files import write_bytes
    from cdis.metrics import files, score, table

    factors = files.read_matrix(values.factors, ("factors",))
    result = score(
        files.read_matrix(values.representations, ("representations", "representation", "vectors")),
        factors,
        metrics=values.metrics,
        preset=values.preset,
        continuous=files.read_kinds(values.continuous, factors.shape[1]),
        seed=files.read_seed(values.seed),
    )
    if values.json:
        content = json.dumps(result, indent=2, allow_nan=False).encode()
        write_bytes(Path(values.json), content)
    entries = result["metrics"]
    if all("reason" in entry for entry in entries.values()):
        reasons = " ".join(f"{name}: {entry['reason']}" for name, entry in entries.items())
        raise UserError(f"None of the metrics can be computed on these data. {reasons}")
    print(table(result))
    if values.json:
        print(f"\nAll numbers: {values.json}")


def _report(values: flags.FlagValues) -> None:
    from cdis.measure import report

    page = report(values.workdir, values.data_dir)
    print(f"Pictures: {values.workdir}/pictures\nPage: {page}")


def _compare(values: flags.FlagValues, *workdirs: str) -> None:
    from cdis.measure import compare, markdown

    experiments = compare(workdirs, values.scores.split(",") if values.scores else ())
    print(json.dumps(experiments, indent=2) if values.json else markdown(experiments))


def _retrieve(values: flags.FlagValues, *paths: str) -> None:
    given = values.steps
    if given is not None and not (given.isdecimal() and 0 < int(given) <= _MOST_STEPS):
        raise UserError(f"--steps takes a whole number from 1 to {_MOST_STEPS}; not {given!r}.")
    if values.pairs or all(Path(path).is_dir() for path in paths):
        _retrieve_many(values, *paths)
        return
    if values.out:
        raise UserError("--out is for many pairs: give --pairs, or two folders. ")

    from cdis.image_files import read_image
    from cdis.run import load

    run = load(values.workdir)
    x, y = (read_image(path, run.info) for path in paths)
    if given is not None:
        from cdis.ops.actions import steps_text

        steps, probability = run.retrieve_steps(x, y, int(given))
        names, counts = run.info.factor_names, steps.tolist()
        answer = steps_text(counts, names)
        moved = {name: n for name, n in zip(names, counts, strict=True) if n}
        result = {"answer": answer, "probability": float(probability), "steps": moved}
        print(json.dumps(result) if values.json else f"{answer}\n\nprobability  {probability:.4f}")
        return
    found = run.retrieve(x, y)
    likeliest = (-found).argsort(kind="stable")
    probabilities = {run.actions[action]: float(found[action]) for action in likeliest}
    action = next(iter(probabilities))
    if values.json:
        print(json.dumps({"action": action, "probabilities": probabilities}))
        return
    print(f"{action}\n")
    width = max(map(len, probabilities))
    for name, probability in probabilities.items():
        print(f"{name:{width}}  {probability:.4f}")


def _retrieve_many(values: flags.FlagValues, *folders: str) -> None:
    if values.out:
        _check_free(values.out, (".csv",), values.overwrite)

    from cdis import pairs
    from cdis.data.progress import Progress
    from cdis.files import atomic
    from cdis.run import load

    run = load(values.workdir)
    path, info = values.pairs, run.info
    most = None if values.steps is None else int(values.steps)
    given = pairs.from_csv(path, info, most) if path else pairs.from_folders(*folders)
    if not (values.out or given.have_actions):
        raise UserError("The answers need --out ANSWERS.csv, since no true actions are given.")
    progress = Progress("cdis retrieve", given.count, "answered", "pairs")
    with contextlib.ExitStack() as stack:
        write = stack.enter_context(atomic(Path(values.out))).write if values.out else len
        if most is None:
            counts = pairs.answer(run, given, write, progress.advance)
        else:
            counts = pairs.answer_steps(run, given, write, progress.advance, most)
    from cdis.metrics.retrieval import retrieval_scores, steps_scores

    result: dict[str, Any] = {"num_pairs": given.count, "actions": run.actions}
    lines: list[str] = []
    if given.have_actions and most is None:
        result["action_retrieval"] = retrieval_scores(counts, info.num_factors)
        lines = _accuracy(result["action_retrieval"], run.actions)
    elif given.have_actions:
        result["steps_retrieval"] = steps_scores(counts)
        lines = _steps_accuracy(result["steps_retrieval"])
    if values.json:
        print(json.dumps(result))
        return
    if lines:
        print(*lines, sep="\n")
    if values.out:
        print(f"Wrote {values.out}: {given.count:,} pairs")


def _accuracy(scores: dict[str, Any], actions: tuple[str, ...]) -> list[str]:
    """Accuracy in both senses, and the confusion matrix, as lines of text."""
    lines = []
    for kind, meaning in (("directed", "the action"), ("undirected", "its factor")):
        low, high = scores[f"{kind}_interval"]
        lines.append(
            f"{kind:11} {scores[kind]:.4f}  95 % interval {low:.4f} to {high:.4f}, chance "
            f"{scores[f'chance_{kind}']:.4f}: {meaning} is right"
        )
    first = max(map(len, actions))
    width = max(first, len(str(scores["num_pairs"]))) + 2
    lines += ["", "Pairs by true action (rows) and answer (columns):", " " * first]
    lines[-1] += "".join(f"{name:>{width}}" for name in actions)
    for name, row in zip(actions, scores["confusion"], strict=True):
        lines.append(f"{name:{first}}" + "".join(f"{count:{width}}" for count in row))
    return [*lines, ""]


def _steps_accuracy(scores: dict[str, Any]) -> list[str]:
    """The share of pairs whose steps are all right, also by their number, as lines of text."""
    low, high = scores["exact_interval"]
    lines = [f"exact {scores['exact']:.4f}  95 % interval {low:.4f} to {high:.4f}: all steps right"]
    for number, (count, right) in enumerate(scores["by_number"]):
        if count:
            plural = "" if number == 1 else "s"
            lines.append(f"  {number} step{plural}: {right:,} of {count:,} pairs")
    return [*lines, ""]


def _intervene(values: flags.FlagValues, x: str) -> None:
    if bool(values.action) == bool(values.do):
        raise UserError(
            "cdis intervene needs either --action NAME or --do NAME=VALUE. "
            "See cdis intervene --help."
        )
    _check_free(values.out, (".png",), values.overwrite)
    factors = _read_do(values.do)

    from cdis.image_files import read_image, write_image
    from cdis.run import load

    run = load(values.workdir)
    image = read_image(x, run.info)
    changed = run.do(image, **factors) if factors else run.intervene(image, *values.action)
    write_image(values.out, changed)
    print(f"Wrote {values.out}")


def _sample(values: flags.FlagValues) -> None:
    from cdis.metrics.files import read_seed

    _check_free(values.out, (".png", ".npz"), values.overwrite)
    given = "16" if values.count is None else values.count
    if not (given.isdecimal() and int(given) > 0):
        raise UserError(f"--count takes a whole number, 1 or more; not {given!r}.")
    count, seed, factors = int(given), read_seed(values.seed), _read_do(values.do)
    if "seed" in factors:
        raise UserError("A factor called seed cannot be set, as --seed is that of the noise.")

    from cdis import exports
    from cdis.run import load

    run, path = load(values.workdir), Path(values.out)
    write = exports.write_sheet if path.suffix.lower() == ".png" else exports.write_samples
    write(path, run, count, seed, factors)
    print(f"Wrote {path}: {count:,} samples")


def _encode(values: flags.FlagValues, *paths: str) -> None:
    if paths and (values.data or values.split or values.data_dir):
        raise UserError(
            "cdis encode takes either image files or a data set: leave out the files, or --data, "
            "--split and --data_dir."
        )
    _check_free(values.out, (".npz",), values.overwrite)

    from cdis import exports
    from cdis.run import load

    run = load(values.workdir)
    if paths:
        count = exports.write_encoded_files(Path(values.out), run, paths)
    else:
        dataset = exports.dataset_for(run, values.data, values.data_dir)
        count = exports.write_encoded(Path(values.out), run, dataset, values.split or "test")
    print(f"Wrote {values.out}: {count:,} images")


def _read_do(given: list[str]) -> dict[str, float | str]:
    """{NAME: VALUE, ...} of "NAME=VALUE", ...; a value is a number or else a name.

    Raises `UserError` for any other text, and for two values of one factor.
    """
    factors: dict[str, float | str] = {}
    for text in given:
        name, _, word = text.partition("=")
        if not (name and word):
            raise UserError(
                f"--do {text} cannot be read: write NAME=VALUE, such as --do light=12.5."
            )
        try:
            value = float(word)
        except ValueError:
            if "=" in word:
                raise UserError(
                    f"--do {text} cannot be read: give --do once for each factor, as in --do a=1 "
                    "--do b=2."
                ) from None
            value = word
        if name in factors and factors[name] != value:
            raise UserError(
                f"--do sets {name} to {factors[name]} and to {value}. Give {name} one value."
            )
        factors[name] = value
    return factors


def _check_free(path: str, suffixes: tuple[str, ...], overwrite: bool) -> None:
    """Raise `UserError` unless a file that ends in one of `suffixes` may be written to `path`."""
    out = Path(path)
    if out.suffix.lower() not in suffixes:
        raise UserError(
            f"--out {out} does not end in {' or '.join(suffixes)}. Name a file of that kind."
        )
    if not out.parent.is_dir():
        raise UserError(f"There is no folder {out.parent} to write {out.name} to. Create it first.")
    if out.is_dir():
        raise UserError(f"{out} is a folder. Give --out the name of a file.")
    if out.exists() and not overwrite:
        raise UserError(
            f"{out} exists and was left as it is. Choose another --out, or add --overwrite."
        )


def _experiments(_: flags.FlagValues) -> None:
    from cdis.config import experiments, names

    for name in names():
        # Read, not imported: a listing should run nobody's code.
        text = ast.get_docstring(ast.parse((experiments() / f"{name}.py").read_text())) or ""
        print(f"{name:37}{text.partition(chr(10))[0]}")


def _completion(_: flags.FlagValues, shell: str) -> None:
    from cdis import completion, config, data

    commands = {name: command.flags for name, command in COMMANDS.items()}
    print(completion.script(shell, commands, config.names(), data.names()), end="")


def _data_list(_: flags.FlagValues) -> None:
    from cdis import data

    for name in data.names():
        info = data.info(name)
        shape = " x ".join(map(str, info.image_shape))
        grid = zip(info.factor_names, info.factor_sizes, strict=True)
        factors = ", ".join(f"{factor} {size or ''}".strip() for factor, size in grid)
        print(f"{name:24}{info.num_images:>9,} images, {shape}: {factors}")


def _data_prepare(values: flags.FlagValues, name: str) -> None:
    from cdis import data

    name = _resized(name, values.resize)
    data.prepare(name, values.data_dir, values.manual_dir)
    print(f"{name} is ready")


def _data_show(values: flags.FlagValues, name: str) -> None:
    from cdis import data

    name = _resized(name, values.resize)
    info = data.info(name)
    if values.out:
        from cdis.data.show import write_sheet

        _check_free(values.out, (".png",), values.overwrite)
        write_sheet(name, values.data_dir, values.out)
    print(f"{name}: {info.description}\n")
    for i, (factor, size) in enumerate(zip(info.factor_names, info.factor_sizes, strict=True)):
        text = f"{size:3} values" if size else "continuous"
        if not size and info.value_mean and info.value_std:
            text += f", mean {info.value_mean[i]:.3f}, std {info.value_std[i]:.3f}"
        causes = info.graph[i] if info.graph else ()
        causes = [info.factor_names[j] for j, edge in enumerate(causes) if edge]
        text += f", caused by {' and '.join(causes)}" if causes else ""
        text += ", circular" if info.circular[i] else ""
        text += ", in no meaningful order" if factor in info.unordered else ""
        print(f"  {factor:15} {text}")
    if all(info.factor_sizes):
        _print_actions(name, values.data_dir, info)
    else:
        print("\nActions: none, since there are continuous factors")
    if (dataset := data.prepared(name, values.data_dir)) is not None:
        _print_summary(dataset)
    print(f"Licence: {info.licence}")
    if info.citation:
        print(f"Source: {info.citation}")
    if values.out:
        print(f"Wrote {values.out}")


def _resized(name: str, size: str | None) -> str:
    """The name of a folder of one's own with its images resized to "SIDE" or "HEIGHTxWIDTH"."""
    if size is None:
        return name
    if not name.startswith("own:") or not re.fullmatch(r"[1-9]\d*(x[1-9]\d*)?", size):
        raise UserError(
            f"--resize {size} of {name} cannot be done: it takes SIDE or HEIGHTxWIDTH in pixels, "
            "such as 64 or 64x78, and images of your own (own:FOLDER)."
        )
    return f"{name}@{size}"


def _print_actions(name: str, data_dir: str | None, info: Any) -> None:
    """The actions and, of a prepared data set, how many pairs of images each has."""
    from cdis import data
    from cdis.data.transitions import count_table

    print(f"\nActions: {', '.join(info.action_names)}")
    dataset = data.prepared(name, data_dir)
    if dataset is None:
        print(f"To count their transitions, run: cdis data prepare {name}")
    else:
        print("", *count_table(dataset), "", sep="\n")


def _print_summary(dataset: Any) -> None:
    """What the images have: values of factors, splits, and what will hurt."""
    from cdis.data.advice import warnings_about
    from cdis.data.summary import factor_table, split_table

    print("", *factor_table(dataset), "", *split_table(dataset), "", sep="\n")
    for warning in warnings_about(dataset):
        print(f"Warning: {warning}")


COMMANDS = {
    "train": Command(
        help_texts.TRAIN, _train, ("config", "workdir"), ("data_dir", "feed", "resize")
    ),
    "evaluate": Command(
        help_texts.EVALUATE, _evaluate, ("workdir",), ("data", "data_dir"), compiles=True
    ),
    "report": Command(help_texts.REPORT, _report, ("workdir",), ("data_dir",), compiles=True),
    "compare": Command(
        help_texts.COMPARE,
        _compare,
        optional=("scores",),
        switches=("json",),
        arguments=("DIR ...",),
    ),
    "retrieve": Command(
        help_texts.RETRIEVE,
        _retrieve,
        ("workdir",),
        ("pairs", "out", "steps"),
        switches=("json", "overwrite"),
        arguments=("X.png", "Y.png"),
        instead="pairs",
    ),
    "intervene": Command(
        help_texts.INTERVENE,
        _intervene,
        ("workdir", "out"),
        repeated=("action", "do"),
        switches=("overwrite",),
        arguments=("X.png",),
    ),
    "sample": Command(
        help_texts.SAMPLE,
        _sample,
        ("workdir", "out"),
        ("count", "seed"),
        repeated=("do",),
        switches=("overwrite",),
    ),
    "encode": Command(
        help_texts.ENCODE,
        _encode,
        ("workdir", "out"),
        ("data", "split", "data_dir"),
        switches=("overwrite",),
        arguments=("[X.png ...]",),
    ),
    "score": Command(
        help_texts.SCORE,
        _score,
        ("representations", "factors"),
        ("metrics", "preset", "continuous", "seed", "json"),
        details=_metrics_help,
    ),
    "experiments": Command(help_texts.EXPERIMENTS, _experiments),
    "data list": Command(help_texts.DATA, _data_list),
    "data prepare": Command(
        help_texts.DATA,
        _data_prepare,
        optional=("data_dir", "manual_dir", "resize"),
        arguments=("NAME",),
    ),
    "data show": Command(
        help_texts.DATA,
        _data_show,
        optional=("data_dir", "out", "resize"),
        switches=("overwrite",),
        arguments=("NAME",),
    ),
    "completion": Command(help_texts.COMPLETION, _completion, arguments=("SHELL",)),
}
