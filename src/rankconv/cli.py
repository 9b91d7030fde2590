"""The command line: each command's body calls one public function and shows what it yields."""

from __future__ import annotations

import importlib.metadata
import shlex
import sys
from pathlib import Path
from typing import Annotated, Any

try:
    import typer
    from rich.console import Console
except ImportError as missing:  # pragma: no cover - depends on the installation
    sys.exit(f"the command needs the package {missing.name}: pip install 'rankconv[paper]'")

from rankconv import commands

app = typer.Typer(
    help="Cheaper 2-D convolutions by rank-n approximation of their filters, and what it costs.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)
data_app = typer.Typer(help="The images that the experiment runs on.", no_args_is_help=True)
app.add_typer(data_app, name="data")
console = Console()
errors = Console(stderr=True)
NOTHING_FASTER = 3  # the status of `compress` where the original is the answer

KernelOption = Annotated[
    str,
    typer.Option(
        "--kernel",
        "-k",
        help="A filter: 'gaussian:sigma=3', 'box:size=5', 'sobel', 'laplacian', a .npy file, or "
        "rows of numbers such as '1,0,-1;2,0,-2;1,0,-1'.",
    ),
]
RankOption = Annotated[
    int | None, typer.Option(help="Approximate the filter by this many rank-1 terms.", min=1)
]
TolOption = Annotated[
    float | None,
    typer.Option(help="Take the smallest rank whose relative Frobenius error is at most this."),
]


def _show_version(wanted: bool) -> None:
    if wanted:
        console.print(f"rankconv {importlib.metadata.version('rankconv')}", highlight=False)
        raise typer.Exit


@app.callback()
def options(
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the full traceback of an error.")
    ] = False,
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Show the version and exit.", is_eager=True, callback=_show_version
        ),
    ] = False,
) -> None:
    """Options that stand before the command; `main` acts on --debug."""


@app.command()
def reproduce(
    data: Annotated[
        Path | None,
        typer.Option(
            help="CIFAR-10: a folder with train/<class>/*.jpg and test/<class>/*.jpg, the same as "
            ".tar, .tar.xz, .tar.gz or .zip, or the CIFAR-10 python archive. Without it: the "
            "environment variable RANKCONV_DATA, then a downloaded CIFAR-10, then 5,000 MNIST "
            "digits that need no download.",
        ),
    ] = None,
    out: Annotated[
        Path, typer.Option("--out", "-o", help="The folder for log, checkpoint and report.")
    ] = Path("runs/paper"),
    epochs: Annotated[int, typer.Option(min=1, help="Passes over the training images.")] = 250,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on after the last checkpoint in the folder.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Start anew although the folder holds a run.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Decides weights and order of the images.")] = 3,
    naive_every: Annotated[
        int, typer.Option(min=1, help="Run the Python loop in every n-th epoch (and the last).")
    ] = 1,
    naive_images: Annotated[
        int | None,
        typer.Option(
            min=1, help="Run the Python loop on this many test images; its time is then scaled."
        ),
    ] = None,
    extra_every: Annotated[
        int,
        typer.Option(min=1, help="Run the methods beyond the paper in every n-th epoch."),
    ] = 1,
    method: Annotated[
        list[str] | None,
        typer.Option(help="Only this method ('rank 3', 'stacked 5', ...); may be repeated."),
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Training images a step.")] = 64,
    hidden: Annotated[int, typer.Option(min=1, help="Width of the hidden linear layer.")] = 500,
    learning_rate: Annotated[float, typer.Option(help="Rate of SGD at the start.")] = 0.02,
    weight_decay: Annotated[float, typer.Option(help="L2 penalty of SGD.")] = 0.0,
    schedule: Annotated[
        str, typer.Option(help="How the rate falls: 'anneal', 'cosine' or 'constant'.")
    ] = "anneal",
    normalize: Annotated[
        str, typer.Option(help="Standardise by 'image', by 'dataset', or 'none'.")
    ] = "image",
    flip: Annotated[
        bool | None,
        typer.Option(
            "--flip/--no-flip",
            help="Mirror half of the training images. Default: yes, but not for digits.",
        ),
    ] = None,
    threads: Annotated[int, typer.Option(min=1, help="Threads for every method alike.")] = 1,
    model: Annotated[
        str,
        typer.Option(
            help="'paper', 'lenet' (6 and 16 filters), or 'vgg' (six layers on RGB images)."
        ),
    ] = "paper",
    filter_size: Annotated[
        int, typer.Option(min=3, max=11, help="Rows and columns of the filters.")
    ] = 5,
    image_size: Annotated[
        int, typer.Option(min=8, help="Rows and columns that the images are resampled to.")
    ] = 32,
    train_rank: Annotated[
        int | None,
        typer.Option(min=1, max=11, help="Train towards filters of this rank; default: freely."),
    ] = None,
    train_method: Annotated[
        str,
        typer.Option(
            help="How: 'factors' are learned in the filters' place, a 'penalty' on the singular "
            "values beyond the rank, or 'projection' of the filters every few steps."
        ),
    ] = "projection",
    project_every: Annotated[int, typer.Option(min=1, help="Steps between two projections.")] = 20,
    penalty: Annotated[float, typer.Option(help="Strength of the penalty.")] = 0.05,
    rank_epochs: Annotated[
        int,
        typer.Option(
            min=0,
            help="Let the rank fall from the full one over this many epochs (not with factors).",
        ),
    ] = 0,
    train_share: Annotated[
        float | None,
        typer.Option(
            help="Instead of --train-rank: train towards pairs of filters with this share of a "
            "layer's multiply-adds, for nets of many channels."
        ),
    ] = None,
    figure: Annotated[
        int | None,
        typer.Option(min=2, max=2, help="2: only time Figure 2 of the paper, loop against matmul."),
    ] = None,
    report: Annotated[bool, typer.Option(help="Write the report at the end.")] = True,
) -> None:
    """Run the experiment of the paper: train its network and time seven methods every epoch.

    The log, a checkpoint and the report go to the output folder. A run that was stopped at any
    moment continues with the same command and --resume. Under torchrun all processes train
    together, and the first one tests and writes.

    Example: rankconv reproduce --data CIFAR-10-images.tar.xz --naive-every 25
    """
    if figure is not None:
        commands.figure2(console, out, seed=seed, threads=threads)
        return
    settings: dict[str, Any] = {
        "epochs": epochs,
        "batch_size": batch_size,
        "seed": seed,
        "hidden": hidden,
        "learning_rate": learning_rate,
        "weight_decay": weight_decay,
        "schedule": schedule,
        "normalize": normalize,
        "naive_every": naive_every,
        "naive_images": naive_images,
        "extra_every": extra_every,
        "methods": tuple(method) if method else None,
        "threads": threads,
        "train_rank": train_rank,
        "train_method": train_method,
        "project_every": project_every,
        "penalty": penalty,
        "rank_epochs": rank_epochs,
        "train_share": train_share,
        "model": model,
        "filter_size": filter_size,
        "image_size": image_size,
    }
    commands.reproduce(
        console, data, out, settings, flip=flip, resume=resume, force=force, with_report=report
    )


@app.command()
def sweep(
    data: Annotated[
        Path | None, typer.Option(help="The images, as for reproduce (see reproduce --help).")
    ] = None,
    out: Annotated[
        Path, typer.Option("--out", "-o", help="The folder; each run has one of its own in it.")
    ] = Path("runs/sweep"),
    seeds: Annotated[str, typer.Option(help="Seeds, with commas.")] = "0,1,2",
    train_ranks: Annotated[
        str, typer.Option(help="Ranks to train towards, with commas; 'free' is without one.")
    ] = "free,1,2",
    train_methods: Annotated[
        str, typer.Option(help="Ways of training, with commas (see reproduce --train-method).")
    ] = "projection",
    filter_sizes: Annotated[str, typer.Option(help="Filter sizes, with commas.")] = "5",
    model: Annotated[str, typer.Option(help="'paper', 'lenet' or 'vgg'.")] = "paper",
    image_size: Annotated[int, typer.Option(min=8, help="Size that images are resampled to.")] = 32,
    epochs: Annotated[int, typer.Option(min=1, help="Passes over the training images.")] = 40,
    method: Annotated[
        list[str] | None,
        typer.Option(help="Only test by this method ('rank 1', ...); may be repeated."),
    ] = None,
    threads: Annotated[int, typer.Option(min=1, help="Threads for every method alike.")] = 1,
) -> None:
    """Run the experiment for every seed, rank, way of training and filter size; show a table.

    Stopped at any moment, the same command goes on where it was.

    Example: rankconv sweep --seeds 0,1,2 --train-ranks free,1 --method "rank 1"
    """
    commands.sweep(
        console, data, out,
        seeds=seeds, train_ranks=train_ranks, train_methods=train_methods,
        filter_sizes=filter_sizes,
        settings={
            "epochs": epochs, "model": model, "image_size": image_size, "threads": threads,
            "methods": tuple(method) if method else None,
        },
    )  # fmt: skip


@app.command()
def report(
    log: Annotated[Path, typer.Argument(help="The log.jsonl of a run, or its folder.")],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="The folder to write; default: report/.")
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(help="The data of the run, to show its test images (see reproduce --help)."),
    ] = None,
    beside: Annotated[
        list[Path] | None,
        typer.Option(
            help="Another run, whose accuracy is drawn into the same picture; may be repeated."
        ),
    ] = None,
) -> None:
    """Write report.html and its figures as PNG and SVG from the log of a run.

    Example: rankconv report runs/rank-1 --beside runs/free
    """
    commands.report(console, log, out, data, beside or [])


@app.command("filter")
def filter_command(
    source: Annotated[
        Path, typer.Argument(metavar="IN", help="An image: PNG, JPEG, TIFF or .npy.")
    ],
    target: Annotated[
        Path, typer.Argument(metavar="OUT", help="The file to write; its end says of which kind.")
    ],
    kernel: KernelOption,
    rank: RankOption = None,
    tol: TolOption = None,
    boundary: Annotated[
        str, typer.Option(help="Beyond the edge: reflect, mirror, nearest, wrap or constant (0).")
    ] = "reflect",
    dtype: Annotated[
        str,
        typer.Option(
            help="Type of the result: 'same' as the image, rounded and saturated, or 'float32', "
            "which .tif and .npy can hold."
        ),
    ] = "same",
    compare: Annotated[
        Path | None,
        typer.Option(
            help="Draw original, result, difference and spectrum into this .png, .svg or .pdf."
        ),
    ] = None,
) -> None:
    """Correlate an image with a filter; print the plan, the error and the time.

    An array (.npy) is (H, W), or has channels or images before: (3, H, W). Colours are filtered
    one by one; an alpha channel stays as it is. Photographs come upright.

    Example: rankconv filter photo.png soft.png --kernel gaussian:sigma=3 --compare seen.png
    """
    commands.filter_file(
        console, source, target, kernel,
        rank=rank, tol=tol, boundary=boundary, dtype=dtype, compare=compare,
    )  # fmt: skip


@app.command()
def plan(
    kernel: KernelOption,
    shape: Annotated[str, typer.Option(help="Rows x columns of the image.")] = "1080x1920",
    rank: RankOption = None,
    tol: TolOption = None,
    mode: Annotated[str, typer.Option(help="Size of the result: full, same or valid.")] = "same",
    dtype: Annotated[str, typer.Option(help="Type of the image.")] = "float32",
    measure: Annotated[
        bool, typer.Option("--measure", help="Time the candidates instead of estimating.")
    ] = False,
) -> None:
    """Show which algorithm would filter an image of this size, and what the others would cost.

    Example: rankconv plan --kernel gaussian:sigma=3 --shape 1080x1920 --measure
    """
    commands.show_plan(
        console, kernel, shape, rank=rank, tol=tol, mode=mode, dtype=dtype, measure=measure
    )


@app.command()
def calibrate() -> None:
    """Measure for a few seconds what filtering costs here, and plan with it from now on.

    The result is kept in your cache folder. Best on an idle machine.
    """
    commands.calibrate(console)


@app.command()
def factorize(
    kernel: KernelOption,
    rank: RankOption = None,
    tol: TolOption = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Write the factors f and g to this .npz.")
    ] = None,
) -> None:
    """Split a filter into rank-1 terms and show the error of every rank.

    Example: rankconv factorize --kernel "0,1,0;1,-4,1;0,1,0"
    """
    commands.show_factorization(console, kernel, rank=rank, tol=tol, out=out)


@app.command()
def compress(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="A trained network: .onnx.")],
    data: Annotated[
        Path,
        typer.Option(
            help="Images: an .npz with an array named as the model's input, or x, and labels or "
            "target images y where you have them; or a folder of pictures, its subfolders the "
            "classes."
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="The faster model to write.")],
    report: Annotated[Path | None, typer.Option(help="Write a page that tells all: .html.")] = None,
    json: Annotated[Path | None, typer.Option(help="Write the same as JSON.")] = None,
    max_drop: Annotated[
        str | None,
        typer.Option(
            help="How much worse the score may get, in its own unit: 1%, 0.3dB. Default: 1, but "
            "none with --evaluate."
        ),
    ] = None,
    speedup: Annotated[
        float | None, typer.Option(help="Instead: at least this many times as fast.")
    ] = None,
    time: Annotated[
        str | None, typer.Option(help="Instead: a call takes at most this: 2ms, 0.5s.")
    ] = None,
    metric: Annotated[
        str | None,
        typer.Option(
            help="The score: top1, agreement (of the answers with the original's), psnr or "
            "output_error. Default: what the data suggest."
        ),
    ] = None,
    peak: Annotated[
        float | None, typer.Option(help="With --metric psnr: the largest value of a pixel.")
    ] = None,
    evaluate: Annotated[
        str | None,
        typer.Option(
            help="Your own score, package.module:function. It is given the network, whose .model "
            "is the ONNX model and whose .predict((x,)) runs it, and returns a number."
        ),
    ] = None,
    lower_is_better: Annotated[
        bool, typer.Option("--lower-is-better", help="With --evaluate: a lower score is better.")
    ] = False,
    kinds: Annotated[
        str | None,
        typer.Option(help="Only these decompositions, with commas: spatial_svd,channel_svd."),
    ] = None,
    int8: Annotated[
        bool, typer.Option("--int8", help="Measure original and result in int8 too.")
    ] = False,
    write_int8: Annotated[
        bool, typer.Option("--write-int8", help="As --int8, and write the result in int8.")
    ] = False,
    threads: Annotated[int, typer.Option(min=1, help="Threads of the engine.")] = 1,
    batch: Annotated[int, typer.Option(min=1, help="Images a call, for the time.")] = 1,
    size: Annotated[
        str | None, typer.Option(help="Pictures: rows x columns, where the model leaves it open.")
    ] = None,
    mean: Annotated[
        str | None, typer.Option(help="Pictures: subtracted from 0..1, one number or a channel's.")
    ] = None,
    std: Annotated[str | None, typer.Option(help="Pictures: divided by, after that.")] = None,
    images: Annotated[
        int | None,
        typer.Option(min=8, help="Pictures: how many, drawn by the seed. Default: 2000."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Decides which images are for what.")] = 0,
    tuning: Annotated[
        Path | None,
        typer.Option(help="The file of measured layer times; default: in your cache folder."),
    ] = None,
    no_tuning: Annotated[
        bool, typer.Option("--no-tuning", help="Neither read nor keep layer times.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Overwrite the files to be written.")
    ] = False,
) -> None:
    """Replace convolutions by low-rank chains where that is faster on this machine's clock.

    The status is 3 where nothing is faster within the budget: then no model is written.

    Example: rankconv compress model.onnx --data calib.npz -o fast.onnx --report report.html
    """
    from rankconv import compress_command

    request = compress_command.Request(
        model=model, data=data, out=out, report=report, json=json, max_drop=max_drop,
        speedup=speedup, time=time, metric=metric, peak=peak, evaluate=evaluate,
        lower_is_better=lower_is_better, kinds=tuple(kinds.split(",")) if kinds else (),
        int8=int8, write_int8=write_int8, threads=threads, batch=batch, size=size, mean=mean,
        std=std, images=images, seed=seed, tuning=tuning, no_tuning=no_tuning, force=force,
        command=shlex.join(["rankconv", *sys.argv[1:]]),
    )  # fmt: skip
    if not compress_command.compress(console, request):
        raise typer.Exit(NOTHING_FASTER)


@data_app.command("download")
def data_download(
    destination: Annotated[
        Path | None, typer.Option("--to", help="A folder; default: the user's cache.")
    ] = None,
) -> None:
    """Fetch CIFAR-10 (170 MB) from its home page and check its checksum."""
    commands.download(console, destination)


@data_app.command("show")
def data_show(
    data: Annotated[Path | None, typer.Option(help="See reproduce --help.")] = None,
) -> None:
    """Say which data would be used, and how many images it has."""
    commands.show_data(console, data)


def main() -> None:
    """Entry point: errors become one clear line and a non-zero status, never a traceback."""
    debug = "--debug" in sys.argv
    try:
        app()
    except KeyboardInterrupt:
        errors.print("[bold red]interrupted[/]")
        sys.exit(130)
    except Exception as error:
        if debug:
            raise
        text = " ".join(str(error).split()) or type(error).__name__
        errors.print("error:", style="bold red", end=" ")
        errors.print(text, markup=False, highlight=False, soft_wrap=True)
        sys.exit(2 if isinstance(error, ValueError) else 1)
