"""The command line: flags and help only; the work is done by the modules that it calls.

Nothing that is slow to import is imported here, so that ``--help`` answers at once.
"""

import difflib
import errno
import json
import re
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

from absl import flags, logging

import cdis
from cdis.errors import UserError
from cdis.memory import keep_freed_memory

_HELP = """\
cdis: causal disentanglement in JAX.

Usage: cdis COMMAND [FLAGS AND ARGUMENTS, IN ANY ORDER]

{commands}

A first run, from data to numbers and pictures:
  cdis train --config experiments/ct_vae/quickstart.py --workdir runs/quickstart
  cdis evaluate --workdir runs/quickstart
  cdis report --workdir runs/quickstart

cdis COMMAND --help tells what a command does, with examples; cdis --version tells the version.
"""

_TRAIN = """\
Trains a method as an experiment file says; goes on where a stopped run was.

Usage: cdis train --config FILE.py[:VARIANT] --workdir DIR [--config.FIELD=VALUE ...]

  --config FILE.py[:VARIANT]  the experiment; most have a tiny variant "smoke" to try things with
  --config.FIELD=VALUE        change one field of it; FIELD is dotted: stages.transition.steps
  --workdir DIR               gets config.json, checkpoints/, log.jsonl and TensorBoard events
  --data_dir DIR              where data sets are kept ($CDIS_DATA_DIR, else $TFDS_DATA_DIR,
                              else ~/tensorflow_datasets); a missing one is made
  --feed decoded|records|auto from where images are fed: a decoded copy mapped into memory, the
                              record files, or (default) the copy if it is there or would fit;
                              results are the same

Examples:
  cdis train --config experiments/ct_vae/quickstart.py --workdir runs/quickstart
  cdis train --config experiments/ct_vae/quickstart.py:smoke --workdir runs/smoke
  cdis train --config experiments/ct_vae/quickstart.py --workdir runs/seed1 --config.seed=1

Stopped by Ctrl-C, SIGTERM or a crash? The same command again goes on from the last checkpoint and
ends with the parameters of a run that was never stopped. A workdir belongs to one config: with
another, nothing is touched. Every field is in the experiment file and in DIR/config.json.
"""

_EVALUATE = """\
Measures a trained workdir on held-out images and writes DIR/metrics.json.

Usage: cdis evaluate --workdir DIR

  --workdir DIR   of an earlier cdis train
  --data_dir DIR  where data sets are kept (see cdis train --help)

Example:
  cdis evaluate --workdir runs/quickstart

Directed retrieval counts the action (which factor, which way), undirected only the factor. What an
intervention or a reconstruction shows is read by a predictor trained on real images alone.
Representations of all images are scored as by cdis score, with the cheap half of its metrics:
those of a method with codes twice, as quantised vectors and as indices of codes. Of continuous
factors, which may cause one another, those of held-out images are.

Downstream tasks, where there are four factors with values: a small classifier learns a label from
100 labelled images and from all; and where a tint of the images agrees with the label in training,
but not in the test. The true factors stand beside: nothing can be expected to beat them.
"""

_REPORT = """\
Draws what was measured: pictures, and one self-contained page.

Usage: cdis report --workdir DIR

  --workdir DIR   of an earlier cdis train, measured first if need be; gets pictures/*.png and
                  report/index.html
  --data_dir DIR  where data sets are kept (see cdis train --help)

Example:
  cdis report --workdir runs/quickstart
"""

_SCORE = """\
Scores any representation, whoever made it, against the true factors of its samples.

Usage: cdis score --representations FILE --factors FILE

  --representations FILE  a row for each sample: .npy, .npz or .csv (a header line is skipped);
                          codes.npz:mu names an array of an .npz, else "representations" is taken
  --factors FILE          likewise, the factors behind the same samples in the same order
  --metrics A,B           some of dci, mig, rmig, dcimig, modularity, explicitness, sap, beta_vae,
                          factor_vae, irs, infomec, mcc, r2, mic (default: all)
  --preset A,B            published settings. dci: hist_gradient_boosting (default, fast),
                          gradient_boosting (disentanglement_lib's, minutes), lightgbm,
                          random_forest, logistic, lasso. infomec: latent_quantization (default),
                          latent_quantization_first, tripod. mcc: pearson (default), spearman
  --continuous 0,3        factors that are quantities, or all, or none (default: told by values:
                          discrete are few values, or whole numbers that recur)
  --seed N                of samples, splits and models (default: 0)
  --json OUT.json         also write all of it: per factor, per dimension, matrices

Examples:
  cdis score --representations codes.npy --factors factors.npy
  cdis score --representations run.npz:mu --factors run.npz:factors --metrics dci --json out.json
  cdis score --representations codes.csv --factors factors.csv --metrics dci --preset random_forest

Beside each score stands what perfect codes, the factors themselves, would get on these factors: not
every metric gives them 1. A metric that cannot be computed is listed with the reason. beta_vae,
factor_vae and irs need a crossed design, in which factors are independent of each other.
"""

_COMPARE = """\
Puts measured runs side by side, with means and intervals over seeds, as a Markdown table.

Usage: cdis compare DIR ... [--scores A,B]

  DIR ...       of earlier cdis evaluate; those that differ in nothing but the seed are one column
  --scores A,B  dotted names of numbers in metrics.json, or of groups: downstream.robustness
  --json        print JSON: each mean with its 95 % interval (Student's t)

Examples:
  cdis compare runs/beta_vae-* runs/cauf_vae-*
  cdis compare runs/cauf_vae-* --scores elbo,factors.mcc,interventions.do_light_position.hit
"""

_RETRIEVE = """\
Tells which action leads from one image to another, with the probability of each.

Usage: cdis retrieve --workdir DIR X.png Y.png

  --workdir DIR  of an earlier cdis train
  --json         print one JSON object: {"action": ..., "probabilities": {...}}

Examples:
  cdis retrieve --workdir runs/quickstart before.png after.png
  cdis retrieve --workdir runs/quickstart --json before.png after.png

Both images must be of the size and mode of the data set that was trained on.
"""

_INTERVENE = """\
Draws what an image would be like after an action, or with a factor set to a value.

Usage: cdis intervene --workdir DIR X.png --action NAME --out Y.png
       cdis intervene --workdir DIR X.png --do NAME=VALUE --out Y.png

  --workdir DIR    of an earlier cdis train
  --action NAME    factor and direction, such as hue+1 or x-1; cdis data show NAME lists them
  --do NAME=VALUE  a factor and its value, such as light_position=12.5: its effects follow
  --out Y.png      the picture to write; an existing file is kept unless --overwrite is given
  --overwrite      write over an existing file

Examples:
  cdis intervene --workdir runs/quickstart before.png --action hue+1 --out after.png
  cdis intervene --workdir runs/pendulum_cpu before.png --do light_position=12.5 --out after.png
  cdis retrieve --workdir runs/quickstart before.png after.png
"""

_DATA = """\
Lists, prepares and shows data sets.

Usage: cdis data list
       cdis data prepare NAME [--manual_dir DIR]
       cdis data show NAME [--out SHEET.png]

NAME is a name of the list, or own:FOLDER for images of your own: images.npy and factors.npy, or
image files and factors.csv. See cdis/data/own_data.md, with an example.

  list             every data set, with its images and factors
  prepare NAME     draw or download it now; cdis train does so by itself when needed
  show NAME        its factors, actions, licence and source; of a prepared one, how many pairs of
                   images there are for each action
  --manual_dir DIR take the files of a downloaded data set from DIR, where you have put them; by
                   default, they are looked for in DATA_DIR/downloads/manual before downloading
  --out SHEET.png  also draw samples, each factor's values and counts on one sheet
  --overwrite      write over an existing sheet
  --data_dir DIR   where data sets are kept ($CDIS_DATA_DIR, else $TFDS_DATA_DIR,
                   else ~/tensorflow_datasets)

Examples:
  cdis data list
  cdis data prepare sprites2d/coloured
  cdis data prepare shapes3d --manual_dir ~/Downloads
  cdis data show sprites2d/coloured --out coloured.png
"""

_PLACES_TO_MEND = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES)


class Command(NamedTuple):
    """What a command is called with and what it does."""

    help: str  #: the first line is its summary
    run: Callable[..., None]
    required: tuple[str, ...] = ()  #: flags with a value
    optional: tuple[str, ...] = ()
    switches: tuple[str, ...] = ()  #: flags without one
    arguments: tuple[str, ...] = ()  #: what else it takes, in this order

    @property
    def flags(self) -> tuple[str, ...]:
        """All flags."""
        return self.required + self.optional + self.switches


def main(arguments: list[str] | None = None) -> int:
    """Runs a command and returns the exit status: 0, or 2 if the user has something to mend."""
    logging.set_verbosity(logging.WARNING)
    keep_freed_memory()
    try:
        _run(sys.argv[1:] if arguments is None else arguments)
    except UserError as error:
        print(f"cdis: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        if error.errno not in _PLACES_TO_MEND:
            raise
        place = error.filename or "a file could not be written"
        print(
            f"cdis: {error.strerror}: {place}. Make room or allow access there, or choose another "
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
        listed = [f"  {key:11}{text.splitlines()[0]}" for key, text in summaries.items()]
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
            f"There is no {what} {name!r}{_near(name, COMMANDS)}. The command comes first, one of "
            f"{', '.join(COMMANDS)}. See cdis --help."
        )
    command = COMMANDS[name]
    if "-h" in rest or "--help" in rest:
        print(command.help, end="")
        return
    overrides, rest = _take_overrides(rest) if "config" in command.flags else ({}, rest)
    values, others = _parse(name, rest)
    command.run(values, *others, **({"overrides": overrides} if "config" in command.flags else {}))


def _parse(name: str, arguments: list[str]) -> tuple[flags.FlagValues, list[str]]:
    """The flags of a command and its other arguments, in whatever order they were given."""
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
        near = _near(f"--{error.flagname}", [f"--{flag}" for flag in command.flags])
        raise UserError(f"cdis {name} has no flag --{error.flagname}{near}. {see}") from error
    except flags.Error as error:
        raise UserError(f"cdis {name}: {error}. {see}") from error
    for flag in command.required:
        if not values[flag].value:
            raise UserError(f"cdis {name} needs --{flag}. {see}")
    least, endless = len(command.arguments), command.arguments[-1:] == ("DIR ...",)
    if len(others) < least or (len(others) > least and not endless):
        wanted = " and ".join(command.arguments) or "nothing"
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


def _near(name: str, names: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, list(names), n=1)
    return f" (did you mean {near[0]!r}?)" if near else ""


def _train(values: flags.FlagValues, overrides: dict[str, str]) -> None:
    from cdis.config import load_config

    config = load_config(values.config, overrides)  # its errors come before JAX is imported

    from cdis.train.loop import train

    train(config, values.workdir, values.data_dir, feed=values.feed or "auto")


def _evaluate(values: flags.FlagValues) -> None:
    from cdis.measure import evaluate, headlines

    metrics = evaluate(values.workdir, values.data_dir)
    print("", *headlines(metrics), sep="\n")
    print(f"All numbers: {values.workdir}/metrics.json")


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


def _retrieve(values: flags.FlagValues, x: str, y: str) -> None:
    from cdis.apply import retrieve

    probabilities = retrieve(values.workdir, x, y)
    action = next(iter(probabilities))
    if values.json:
        print(json.dumps({"action": action, "probabilities": probabilities}))
        return
    print(f"{action}\n")
    width = max(map(len, probabilities))
    for name, probability in probabilities.items():
        print(f"{name:{width}}  {probability:.4f}")


def _intervene(values: flags.FlagValues, x: str) -> None:
    if bool(values.action) == bool(values.do):
        raise UserError(
            "cdis intervene needs either --action NAME or --do NAME=VALUE. "
            "See cdis intervene --help."
        )

    from cdis.apply import intervene, intervene_value

    if values.action:
        intervene(values.workdir, x, values.action, values.out, overwrite=values.overwrite)
    else:
        intervene_value(values.workdir, x, values.do, values.out, overwrite=values.overwrite)
    print(f"Wrote {values.out}")


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
        from cdis.apply import check_free
        from cdis.data.show import write_sheet

        check_free(values.out, values.overwrite)
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
    """With the number of pairs of each, which only a prepared data set can tell."""
    from cdis import data
    from cdis.data.transitions import count_table

    print(f"\nActions: {', '.join(info.action_names)}")
    dataset = data.prepared(name, data_dir)
    if dataset is None:
        print(f"Their transitions can be counted after: cdis data prepare {name}")
    else:
        print("", *count_table(dataset), "", sep="\n")


COMMANDS = {
    "train": Command(_TRAIN, _train, ("config", "workdir"), ("data_dir", "feed")),
    "evaluate": Command(_EVALUATE, _evaluate, ("workdir",), ("data_dir",)),
    "score": Command(
        _SCORE,
        _score,
        ("representations", "factors"),
        ("metrics", "preset", "continuous", "seed", "json"),
    ),
    "report": Command(_REPORT, _report, ("workdir",), ("data_dir",)),
    "compare": Command(_COMPARE, _compare, (), ("scores",), ("json",), ("DIR ...",)),
    "retrieve": Command(
        _RETRIEVE, _retrieve, ("workdir",), switches=("json",), arguments=("X.png", "Y.png")
    ),
    "intervene": Command(
        _INTERVENE,
        _intervene,
        ("workdir", "out"),
        ("action", "do"),
        switches=("overwrite",),
        arguments=("X.png",),
    ),
    "data list": Command(_DATA, _data_list),
    "data prepare": Command(
        _DATA, _data_prepare, (), ("data_dir", "manual_dir"), arguments=("NAME",)
    ),
    "data show": Command(
        _DATA, _data_show, (), ("data_dir", "out"), switches=("overwrite",), arguments=("NAME",)
    ),
}
