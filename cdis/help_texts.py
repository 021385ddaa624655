"""The texts of `cdis COMMAND --help`; the first line of each is the summary of its command."""

HELP = """\
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

TRAIN = """\
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
  --resize SIDE|HEIGHTxWIDTH  resize images of your own (--config.data.name=own:FOLDER)

Examples:
  cdis train --config ct_vae/quickstart --workdir runs/quickstart
  cdis train --config ct_vae/quickstart:smoke --workdir runs/smoke
  cdis train --config ct_vae/quickstart --workdir runs/seed1 --config.seed=1
  cdis train --config ct_vae/quickstart --workdir runs/unseen --config.data.unseen=shape,hue

To resume after Ctrl-C, SIGTERM or a crash, run the same command again: it continues from the last
checkpoint and ends with the same parameters as an uninterrupted run. A workdir belongs to one
config; given another, nothing is changed. All fields are listed in DIR/config.json.

A finished run can be extended: give more steps for its last stage, such as
--config.stages.transition.steps=1000. The learning rate then follows the schedule of that length.

With --config.data.unseen=A,B the data are split by combination: 30 % of the combinations of values
of two discrete factors (--config.data.unseen_share=0.3) are never seen in training, and the test
split consists of all images that have one of them. Every value of both factors and every step from
one to the next stays in training, and the choice is always the same. evaluate also scores a split
"seen": held-out images whose combinations occur in training.

A method or data set of your own (--config.method=my_method, --config.data.name=my_data:NAME) may be
a Python module in the current folder.

Compiled programs are kept in $CDIS_CACHE_DIR (default: ~/.cache/cdis), so that later commands start
sooner; results do not depend on it. CDIS_CACHE_DIR="" turns this off.
"""

EVALUATE = """\
Measures a trained method on held-out images and writes DIR/metrics.json.

Usage: cdis evaluate --workdir DIR [--data NAME]

  --workdir DIR   of an earlier cdis train
  --data NAME     measure on these data in place of those trained on: own:FOLDER for a folder that
                  has moved; or other data with the same factors and image size, whose numbers are
                  written to DIR/metrics.NAME.json
  --data_dir DIR  where data sets are kept (see cdis train --help)

Examples:
  cdis evaluate --workdir runs/quickstart
  cdis evaluate --workdir runs/springs --data own:new/place/springs
  cdis evaluate --workdir runs/flow_published --data flow/original

Directed retrieval asks for the action (which factor, which direction), undirected retrieval for the
factor alone. A predictor trained on real images alone reads the factors of reconstructions and of
images after an intervention; it knows all combinations, even if the method was trained on some of
them (--config.data.unseen), and is scored on images that it has not seen. Representations are
scored as by cdis score, with its cheaper metrics. Methods with discrete codes are scored twice, on
quantised vectors and on code indices. If factors are continuous, only held-out images are scored;
otherwise all images are. Where latents stand for factors, images are also decoded from true labels;
where the data set can draw, images under do() are compared with its own drawings.

If a data set has at least four factors with physical values, two downstream tasks are measured: a
small classifier learns a label from 100 labelled images or from all of them, and a tint of the
images agrees with the label in training but not in the test. The scores of the true factors are
listed beside, as an upper bound.
"""

REPORT = """\
Makes pictures of what was measured, and one self-contained HTML page.

Usage: cdis report --workdir DIR

  --workdir DIR   of an earlier cdis train; it is evaluated first if need be, and gets
                  pictures/*.png and report/index.html
  --data_dir DIR  where data sets are kept (see cdis train --help)

Example:
  cdis report --workdir runs/quickstart
"""

SCORE = """\
Scores any representation against the true factors of its samples.

Usage: cdis score --representations FILE --factors FILE

  --representations FILE  one row per sample: .npy, .npz or .csv (a header line is skipped);
                          codes.npz:mu names an array of an .npz (default: "representations" or
                          "vectors", as cdis encode writes it)
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

COMPARE = """\
Compares evaluated runs in a Markdown table, with means and intervals over seeds.

Usage: cdis compare DIR ... [--scores A,B]

  DIR ...       workdirs that have been evaluated; runs that differ only in the seed share a column
  --scores A,B  dotted names of numbers in metrics.json, or of groups: downstream.robustness
  --json        print JSON: each mean with its 95 % interval (Student's t)

Examples:
  cdis compare runs/beta_vae-* runs/cauf_vae-*
  cdis compare runs/cauf_vae-* --scores elbo,factors.mcc,interventions.do_light_position.hit
"""

RETRIEVE = """\
Finds the action, or several, that lead from one image to another, for one pair or many.

Usage: cdis retrieve --workdir DIR X.png Y.png
       cdis retrieve --workdir DIR --pairs PAIRS.csv --out ANSWERS.csv
       cdis retrieve --workdir DIR FOLDER_X FOLDER_Y --out ANSWERS.csv

  --workdir DIR      of an earlier cdis train
  --pairs PAIRS.csv  pairs of images: columns x and y and, if known, the true action; paths are
                     absolute, or relative to the folder of PAIRS.csv
  --out ANSWERS.csv  for many pairs: a line each, with x, y, answer, its probability, the
                     probability of each action and, if known, the true action
  --steps N          look for up to N actions, such as hue+2 x-1, in place of exactly one; true
                     actions are then written like that, or as none. ANSWERS.csv has the steps of
                     each factor in place of the probabilities of actions
  --overwrite        overwrite an existing ANSWERS.csv
  --json             print one JSON object: {"action": ..., "probabilities": {...}} for one pair,
                     {"num_pairs": ..., "actions": [...], "action_retrieval": {...}} for many; with
                     --steps, {"answer": ..., "probability": ..., "steps": {...}} for one pair,
                     {"num_pairs": ..., "actions": [...], "steps_retrieval": {...}} for many

Examples:
  cdis retrieve --workdir runs/quickstart before.png after.png
  cdis retrieve --workdir runs/quickstart --json before.png after.png
  cdis retrieve --workdir runs/quickstart --pairs pairs.csv --out answers.csv
  cdis retrieve --workdir runs/quickstart --steps 3 before.png after.png

Images must have the size of the data set that was trained on, and be in colour or greyscale as it
is; transparency, palettes and 16 bits are converted. In two folders, files of equal name make a
pair. If true actions are given, the accuracy is printed with its 95 % interval
and the confusion matrix, and --out may be left out. Any number of pairs fits in memory.
"""

INTERVENE = """\
Shows what an image would look like after actions, or with factors set to values.

Usage: cdis intervene --workdir DIR X.png --action NAME [--action NAME ...] --out Y.png
       cdis intervene --workdir DIR X.png --do NAME=VALUE [--do NAME=VALUE ...] --out Y.png

  --workdir DIR    of an earlier cdis train
  --action NAME    factor and direction, such as hue+1 or x-1; cdis data show NAME lists them.
                   Several are applied one after another
  --do NAME=VALUE  a factor and its value, such as light_position=12.5; its effects follow. Several
                   are set at once, and each keeps its value
  --out Y.png      the picture to write; an existing file is kept unless --overwrite is given
  --overwrite      overwrite an existing file

Examples:
  cdis intervene --workdir runs/quickstart before.png --action hue+1 --out after.png
  cdis intervene --workdir runs/quickstart before.png --action hue+1 --action x-1 --out after.png
  cdis intervene --workdir runs/pendulum_cpu before.png --do light_position=12.5 --out after.png
  cdis retrieve --workdir runs/quickstart before.png after.png
"""

SAMPLE = """\
Draws new images from a causal flow, with factors set if you like.

Usage: cdis sample --workdir DIR --out SAMPLES.png [--do NAME=VALUE --do NAME=VALUE ...]
       cdis sample --workdir DIR --out SAMPLES.npz [--do NAME=VALUE --do NAME=VALUE ...]

  --workdir DIR    of an earlier cdis train of a CauF-VAE
  --out FILE       SAMPLES.png, a grid of up to 256 images with the values of their factors; or
                   SAMPLES.npz with the arrays images, values, vectors (latents) and factor_names
  --count N        how many (default: 16)
  --seed N         seed of the noise (default: 0)
  --do NAME=VALUE  set a factor in all samples, such as light_position=12.5; its effects follow. May
                   be given several times
  --overwrite      overwrite an existing file

Examples:
  cdis sample --workdir runs/pendulum_cpu --out samples.png
  cdis sample --workdir runs/pendulum_cpu --do light_position=12.5 --count 1000 --out set.npz

Values are those for which the latents stand; of a binary factor, the probability of 1. Latents
without labels are drawn from N(0, 1).
"""

ENCODE = """\
Writes the representations of images to a file.

Usage: cdis encode --workdir DIR --out Z.npz [--data NAME] [--split SPLIT]
       cdis encode --workdir DIR --out Z.npz X.png ...
       cdis encode --workdir DIR --out Z.npz FOLDER

  --workdir DIR   of an earlier cdis train
  --out Z.npz     the file to write, for numpy.load
  --data NAME     a data set with images of the same size (default: the one trained on)
  --split SPLIT   train, validation, test (default), all or, of a split by combination, seen
  --data_dir DIR  where data sets are kept (see cdis train --help)
  --overwrite     overwrite an existing file

Z.npz has one row per image in the arrays vectors and, of a method with discrete codes, codes.
latent_names are the factors that the first latents stand for, if they do. Of a data set it also has
index, values (physical) and factors (indices; values if any factor is continuous), with
factor_names; of image files, their paths.

Examples:
  cdis encode --workdir runs/quickstart --out z.npz
  cdis score --representations z.npz --factors z.npz
  cdis encode --workdir runs/quickstart --out mine.npz photographs/
"""

EXPERIMENTS = """\
Lists the experiments that come with cdis, for cdis train --config NAME.

Usage: cdis experiments

Example:
  cdis experiments
"""

COMPLETION = """\
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

DATA = """\
Lists, prepares and shows data sets.

Usage: cdis data list
       cdis data prepare NAME [--manual_dir DIR]
       cdis data show NAME [--out SHEET.png]

NAME is a name from the list, or own:FOLDER for images of your own and a table of their factors,
which may be numbers with decimals, categories or partly missing, and may have a causal graph. See
cdis/data/own_data.md, with two examples.

  list             every data set, with its images and factors
  prepare NAME     render or download it now; cdis train does so by itself when needed
  show NAME        its factors, actions, licence and source; if it is prepared, also its values and
                   splits, how many pairs of images each action has, and what may hurt training
  --manual_dir DIR take the files of a downloaded data set from DIR, where you have put them, or
                   from DIR itself if it is a zip file; by default, they are looked for in
                   DATA_DIR/downloads/manual before downloading
  --resize SIDE|HEIGHTxWIDTH
                   resize images of your own; own:FOLDER@64x78 names them as well
  --out SHEET.png  also write one sheet with samples, the values of each factor, and counts
  --overwrite      overwrite an existing sheet
  --data_dir DIR   where data sets are kept ($CDIS_DATA_DIR, else $TFDS_DATA_DIR,
                   else ~/tensorflow_datasets)

Examples:
  cdis data list
  cdis data prepare sprites2d/coloured
  cdis data prepare shapes3d --manual_dir ~/Downloads
  cdis data prepare flow/original --manual_dir causalvae_flow_noise.zip
  cdis data show sprites2d/coloured --out coloured.png
"""

#: What the user can fix: a full disk or quota, a read-only disk, missing permissions.
