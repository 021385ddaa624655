"""The command line: flags and help only; the work is done by the modules that it calls.

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
from cdis.errors import UserError, near_miss
from cdis.memory import keep_freed_memory

_HELP = """\
cdis: causal disentanglement in JAX.

Usage: cdis COMMAND [FLAGS AND ARGUMENTS, IN ANY ORDER]

{commands}

A first run, from data to numbers and pictures:
  cdis train --config ct_vae/quickstart --workdir runs/quickstart
  cdis evaluate --workdir runs/quickstart
  cdis report --workdir runs/quickstart

cdis COMMAND --help explains a command, with examples; cdis --version prints the version.
The same from Python: cdis.train, cdis.load, cdis.evaluate and cdis.score; see help(cdis).
"""

_TRAIN = """\
Trains the method of an experiment, or resumes a run that was stopped.

Usage: cdis train --config EXPERIMENT[:VARIANT] --workdir DIR [--config.FIELD=VALUE ...]

  --config EXPERIMENT[:VARIANT]
                              the name of an experiment (cdis experiments lists them) or the path of
                              a file of your own; the variant "smoke" is a tiny run, to try things,
                              and "VARIANT+smoke" that of another variant
  --config.FIELD=VALUE        change a field of it; nested fields have dots: stages.joint.steps
  --workdir DIR               gets config.json, checkpoints/, log.jsonl and TensorBoard events
  --data_dir DIR              where data sets are kept ($CDIS_DATA_DIR, else $TFDS_DATA_DIR, else
                              ~/tensorflow_datasets); a missing data set is prepared first
  --feed decoded|records|auto read images from a decoded copy mapped into memory, or from the record
                              files; auto (default) takes the copy if it exists or would fit; the
                              results are the same

Examples:
  cdis train --config ct_vae/quickstart --workdir runs/quickstart
  cdis train --config ct_vae/quickstart:smoke --workdir runs/smoke
  cdis train --config ct_vae/quickstart --workdir runs/seed1 --config.seed=1

To resume after Ctrl-C, SIGTERM or a crash, run the same command again: it continues from the last
checkpoint and ends with the same parameters as an uninterrupted run. A workdir belongs to one
config; given another, nothing is changed. All fields are listed in DIR/config.json.

A finished run can be extended: give more steps for its last stage, such as
--config.stages.transition.steps=1000. The learning rate then follows the schedule of that length.
A method or data set of your own (--config.method=my_method, --config.data.name=my_data:NAME) may be
a Python module in the current folder.

Compiled programs are kept in $CDIS_CACHE_DIR (default: ~/.cache/cdis), so that later commands start
sooner; results do not depend on it. CDIS_CACHE_DIR="" turns this off.
"""

_EVALUATE = """\
Measures a trained method on held-out images and writes DIR/metrics.json.

Usage: cdis evaluate --workdir DIR

  --workdir DIR   of an earlier cdis train
  --data_dir DIR  where data sets are kept (see cdis train --help)

Example:
  cdis evaluate --workdir runs/quickstart

Directed retrieval asks for the action (which factor, which direction), undirected retrieval for the
factor alone. A predictor trained on real images alone reads the factors of reconstructions and of
images after an intervention. Representations are scored as by cdis score, with its cheaper metrics.
Methods with discrete codes are scored twice, on quantised vectors and on code indices. If factors
are continuous, only held-out images are scored; otherwise all images are.

If a data set has at least four factors with physical values, two downstream tasks are measured: a
small classifier learns a label from 100 labelled images or from all of them, and a tint of the
images agrees with the label in training but not in the test. The scores of the true factors are
listed beside, as an upper bound.
"""

_REPORT = """\
Makes pictures of what was measured, and one self-contained HTML page.

Usage: cdis report --workdir DIR

  --workdir DIR   of an earlier cdis train; it is evaluated first if need be, and gets
                  pictures/*.png and report/index.html
  --data_dir DIR  where data sets are kept (see cdis train --help)

Example:
  cdis report --workdir runs/quickstart
"""

_SCORE = """\
Scores any representation against the true factors of its samples.

Usage: cdis score --representations FILE --factors FILE

  --representations FILE  one row per sample: .npy, .npz or .csv (a header line is skipped);
                          codes.npz:mu names an array of an .npz (default: "representations")
  --factors FILE          likewise, the factors of the same samples in the same order
  --metrics A,B           some of those listed below (default: all)
  --preset A,B            published settings of metrics; the presets are listed below
  --continuous 0,3        which factors are continuous, or all, or none (default: factors with few
                          values, or with whole numbers that recur, are discrete)
  --seed N                seed of samples, splits and models (default: 0)
  --json OUT.json         also write all results: per factor, per dimension, matrices

Examples:
  cdis score --representations codes.npy --factors factors.npy
  cdis score --representations run.npz:mu --factors run.npz:factors --metrics dci --json out.json
  cdis score --representations codes.csv --factors factors.csv --metrics dci --preset random_forest

The column "perfect" shows what perfect codes, the factors themselves, would score on these factors:
not every metric gives them 1. A metric that cannot be computed is listed with the reason. In a
crossed design factors are independent of each other.

Metrics:
"""

_COMPARE = """\
Compares evaluated runs in a Markdown table, with means and intervals over seeds.

Usage: cdis compare DIR ... [--scores A,B]

  DIR ...       workdirs that have been evaluated; runs that differ only in the seed share a column
  --scores A,B  dotted names of numbers in metrics.json, or of groups: downstream.robustness
  --json        print JSON: each mean with its 95 % interval (Student's t)

Examples:
  cdis compare runs/beta_vae-* runs/cauf_vae-*
  cdis compare runs/cauf_vae-* --scores elbo,factors.mcc,interventions.do_light_position.hit
"""

_RETRIEVE = """\
Finds the action that leads from one image to another, for one pair or many.

Usage: cdis retrieve --workdir DIR X.png Y.png
       cdis retrieve --workdir DIR --pairs PAIRS.csv --out ANSWERS.csv
       cdis retrieve --workdir DIR FOLDER_X FOLDER_Y --out ANSWERS.csv

  --workdir DIR      of an earlier cdis train
  --pairs PAIRS.csv  pairs of images: columns x and y and, if known, the true action; paths are
                     absolute, or relative to the folder of PAIRS.csv
  --out ANSWERS.csv  for many pairs: a line each, with x, y, answer, its probability, the
                     probability of each action and, if known, the true action
  --overwrite        overwrite an existing ANSWERS.csv
  --json             print one JSON object: {"action": ..., "probabilities": {...}} for one pair,
                     {"num_pairs": ..., "actions": [...], "action_retrieval": {...}} for many

Examples:
  cdis retrieve --workdir runs/quickstart before.png after.png
  cdis retrieve --workdir runs/quickstart --json before.png after.png
  cdis retrieve --workdir runs/quickstart --pairs pairs.csv --out answers.csv

Images must have the size and mode of the data set that was trained on. In two folders, files of
equal name make a pair. If true actions are given, the accuracy is printed with its 95 % interval
and the confusion matrix, and --out may be left out. Any number of pairs fits in memory.
"""

_INTERVENE = """\
Shows what an image would look like after an action, or with a factor set to a value.

Usage: cdis intervene --workdir DIR X.png --action NAME --out Y.png
       cdis intervene --workdir DIR X.png --do NAME=VALUE --out Y.png

  --workdir DIR    of an earlier cdis train
  --action NAME    factor and direction, such as hue+1 or x-1; cdis data show NAME lists them
  --do NAME=VALUE  a factor and its value, such as light_position=12.5; its effects follow
  --out Y.png      the picture to write; an existing file is kept unless --overwrite is given
  --overwrite      overwrite an existing file

Examples:
  cdis intervene --workdir runs/quickstart before.png --action hue+1 --out after.png
  cdis intervene --workdir runs/pendulum_cpu before.png --do light_position=12.5 --out after.png
  cdis retrieve --workdir runs/quickstart before.png after.png
"""

_EXPERIMENTS = """\
Lists the experiments that come with cdis, for cdis train --config NAME.

Usage: cdis experiments

Example:
  cdis experiments
"""

_COMPLETION = """\
Prints a script that lets the shell complete cdis commands with the Tab key.

Usage: cdis completion SHELL

  SHELL  bash or zsh

Examples:
  mkdir -p ~/.local/share/bash-completion/completions
  cdis completion bash > ~/.local/share/bash-completion/completions/cdis
  cdis completion zsh > ~/.cdis-completion.zsh; echo source ~/.cdis-completion.zsh >> ~/.zshrc

It completes commands, flags, experiments, data sets, folders and files, in shells opened from then
on. The bash script needs the package bash-completion, or to be sourced in ~/.bashrc.
"""

_DATA = """\
Lists, prepares and shows data sets.

Usage: cdis data list
       cdis data prepare NAME [--manual_dir DIR]
       cdis data show NAME [--out SHEET.png]

NAME is a name from the list, or own:FOLDER for images of your own: images.npy and factors.npy, or
image files and factors.csv. See cdis/data/own_data.md, with an example.

  list             every data set, with its images and factors
  prepare NAME     render or download it now; cdis train does so by itself when needed
  show NAME        its factors, actions, licence and source; if it is prepared, also how many pairs
                   of images each action has
  --manual_dir DIR take the files of a downloaded data set from DIR, where you have put them; by
                   default, they are looked for in DATA_DIR/downloads/manual before downloading
  --out SHEET.png  also write one sheet with samples, the values of each factor, and counts
  --overwrite      overwrite an existing sheet
  --data_dir DIR   where data sets are kept ($CDIS_DATA_DIR, else $TFDS_DATA_DIR,
                   else ~/tensorflow_datasets)

Examples:
  cdis data list
  cdis data prepare sprites2d/coloured
  cdis data prepare shapes3d --manual_dir ~/Downloads
  cdis data show sprites2d/coloured --out coloured.png
"""

#: What the user can fix: a full disk or quota, a read-only disk, missing permissions.
_FIXABLE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES)


class Command(NamedTuple):
    """What a command takes and what it does."""

    help: str  #: the first line is its summary
    run: Callable[..., None]
    required: tuple[str, ...] = ()  #: flags with a value
    optional: tuple[str, ...] = ()
    switches: tuple[str, ...] = ()  #: flags without one
    arguments: tuple[str, ...] = ()  #: what else it takes, in this order
    instead: str | None = None  #: a flag that can be given in place of `arguments`
    compiles: bool = False  #: let JAX keep what it compiles (`cdis.compiled`) before `run`
    details: Callable[[], str] = lambda: ""  #: the end of the help, made when it is shown

    @property
    def flags(self) -> tuple[str, ...]:
        """All flags."""
        return self.required + self.optional + self.switches


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
        print(_HELP.format(commands="\n".join(listed)), end="")
        return
    if name == "--version":
        print(f"cdis {cdis.__version__}")
        return
    if name == "data":
        if not rest or rest[0] in ("-h", "--help"):
            print(_DATA, end="")
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
        flags.DEFINE_string(flag, None, "", flag_values=values)
    for flag in command.switches:
        flags.DEFINE_bool(flag, False, "", flag_values=values)
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
    least, endless = len(command.arguments), command.arguments[-1:] == ("DIR ...",)
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
        overrides[field] = next(remaining, None) if value is None else value
        if overrides[field] is None:
            raise UserError(f"{argument} needs a value. See cdis train --help.")
    return overrides, others


def _train(values: flags.FlagValues, overrides: dict[str, str]) -> None:
    from cdis.config import load_config

    config = load_config(values.config, overrides)  # its errors come before JAX is imported

    from cdis.compiled import keep_compiled_programs
    from cdis.training.loop import train

    keep_compiled_programs()
    train(config, values.workdir, values.data_dir, feed=values.feed or "auto")


def _evaluate(values: flags.FlagValues) -> None:
    from cdis.measure import evaluate, headlines

    metrics = evaluate(values.workdir, values.data_dir)
    print("", *headlines(metrics), sep="\n")
    print(f"All numbers: {values.workdir}/metrics.json")


def _metrics_help() -> str:
    from cdis.metrics.scoring import metrics_help

    return f"{metrics_help()}\n"


def _score(values: flags.FlagValues) -> None:
    from cdis.files import write_bytes
    from cdis.metrics import files, score, table

    factors = files.read_matrix(values.factors, ("factors",))
    result = score(
        files.read_matrix(values.representations, ("representations", "representation")),
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
    if values.pairs or all(Path(path).is_dir() for path in paths):
        _retrieve_many(values, *paths)
        return
    if values.out:
        raise UserError("--out is for many pairs: give --pairs, or two folders. ")

    from cdis.image_files import read_image
    from cdis.run import load

    run = load(values.workdir)
    found = run.retrieve(*(read_image(path, run.info) for path in paths))
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
        _check_free(values.out, ".csv", values.overwrite)

    from cdis import pairs
    from cdis.data.progress import Progress
    from cdis.files import atomic
    from cdis.run import load

    run = load(values.workdir)
    path, info = values.pairs, run.info
    given = pairs.from_csv(path, info) if path else pairs.from_folders(*folders)
    if not (values.out or given.have_actions):
        raise UserError("The answers need --out ANSWERS.csv, since no true actions are given.")
    progress = Progress("cdis retrieve", given.count, "answered", "pairs")
    with contextlib.ExitStack() as stack:
        write = stack.enter_context(atomic(Path(values.out))).write if values.out else len
        confusion = pairs.answer(run, given, write, progress.advance)
    result: dict[str, Any] = {"num_pairs": given.count, "actions": run.actions}
    if given.have_actions:
        from cdis.metrics.retrieval import retrieval_scores

        result["action_retrieval"] = retrieval_scores(confusion, run.info.num_factors)
    if values.json:
        print(json.dumps(result))
        return
    if given.have_actions:
        print(*_accuracy(result["action_retrieval"], run.actions), sep="\n")
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


def _intervene(values: flags.FlagValues, x: str) -> None:
    if bool(values.action) == bool(values.do):
        raise UserError(
            "cdis intervene needs either --action NAME or --do NAME=VALUE. "
            "See cdis intervene --help."
        )
    _check_free(values.out, ".png", values.overwrite)
    factor = _read_do(values.do) if values.do else {}

    from cdis.image_files import read_image, write_image
    from cdis.run import load

    run = load(values.workdir)
    image = read_image(x, run.info)
    changed = run.do(image, **factor) if values.do else run.intervene(image, values.action)
    write_image(values.out, changed)
    print(f"Wrote {values.out}")


def _read_do(text: str) -> dict[str, float]:
    """{NAME: VALUE} of "NAME=VALUE"; `UserError` if it is not that."""
    name, _, number = text.partition("=")
    try:
        return {name: float(number)}
    except ValueError as error:
        raise UserError(
            f"--do {text} cannot be read: write NAME=VALUE with a number, such as --do light=12.5."
        ) from error


def _check_free(path: str, suffix: str, overwrite: bool) -> None:
    """Raise `UserError` unless a file that ends in `suffix` may be written to `path`."""
    out = Path(path)
    if out.suffix.lower() != suffix:
        raise UserError(f"--out {out} does not end in {suffix}, the kind of file that is written.")
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

    data.prepare(name, values.data_dir, values.manual_dir)
    print(f"{name} is ready")


def _data_show(values: flags.FlagValues, name: str) -> None:
    from cdis import data

    info = data.info(name)
    if values.out:
        from cdis.data.show import write_sheet

        _check_free(values.out, ".png", values.overwrite)
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
    print(f"Licence: {info.licence}")
    if info.citation:
        print(f"Source: {info.citation}")
    if values.out:
        print(f"Wrote {values.out}")


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


COMMANDS = {
    "train": Command(_TRAIN, _train, ("config", "workdir"), ("data_dir", "feed")),
    "evaluate": Command(_EVALUATE, _evaluate, ("workdir",), ("data_dir",), compiles=True),
    "report": Command(_REPORT, _report, ("workdir",), ("data_dir",), compiles=True),
    "compare": Command(_COMPARE, _compare, (), ("scores",), ("json",), ("DIR ...",)),
    "retrieve": Command(
        _RETRIEVE,
        _retrieve,
        ("workdir",),
        ("pairs", "out"),
        ("json", "overwrite"),
        ("X.png", "Y.png"),
        instead="pairs",
    ),
    "intervene": Command(
        _INTERVENE,
        _intervene,
        ("workdir", "out"),
        ("action", "do"),
        ("overwrite",),
        ("X.png",),
    ),
    "score": Command(
        _SCORE,
        _score,
        ("representations", "factors"),
        ("metrics", "preset", "continuous", "seed", "json"),
        details=_metrics_help,
    ),
    "experiments": Command(_EXPERIMENTS, _experiments),
    "data list": Command(_DATA, _data_list),
    "data prepare": Command(
        _DATA, _data_prepare, (), ("data_dir", "manual_dir"), arguments=("NAME",)
    ),
    "data show": Command(_DATA, _data_show, (), ("data_dir", "out"), ("overwrite",), ("NAME",)),
    "completion": Command(_COMPLETION, _completion, arguments=("SHELL",)),
}
