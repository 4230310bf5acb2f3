"""`pgan mnist1k`: the discrete mode test."""

from pathlib import Path

import click
from pgan.cli.common import command_errors, emit, json_option, progress_bar, quiet_option

STACKED = 60_000


@click.group("mnist1k")
def mnist1k_cmd() -> None:
    """The discrete mode test: three stacked digits make 1000 modes; how many does a generator know?

    \b
    In order:
      pgan mnist1k train-classifier --data mnist/ --out classifier.safetensors
      pgan mnist1k stack --data mnist/ --out mnist1k.h5
      pgan fit --data mnist1k.h5 --preset mnist1k --out runs/mnist1k
      pgan mnist1k score runs/mnist1k --classifier classifier.safetensors
    """


data_option = click.option(
    "--data",
    type=click.Path(path_type=Path),
    required=True,
    help="Folder of MNIST's idx files, or a pyramid of single digits with labels.",
)
device_option = click.option("--device", default="cpu", show_default=True, help="cpu, cuda, cuda:1 ...")


@mnist1k_cmd.command("train-classifier")
@data_option
@click.option("--out", "-o", type=click.Path(path_type=Path), required=True, help="The classifier to write.")
@click.option("--epochs", type=click.IntRange(min=1), default=3, show_default=True, help="Passes over the digits.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of weights and order.")
@device_option
@click.option("--dry-run", is_flag=True, help="Read and check the digits, train nothing.")
@json_option
@quiet_option
@command_errors
def train_classifier_cmd(
    data: Path, out: Path, epochs: int, seed: int, device: str, dry_run: bool, as_json: bool, quiet: bool
) -> None:
    """Train the digit classifier that the score needs, and measure it on digits it has not seen.

    \b
    Example:
      pgan mnist1k train-classifier --data mnist/ --out classifier.safetensors
    """
    from pgan.mnist1k import ClassifierTraining, accuracy_of, split_digits, train_classifier, write_classifier
    from pgan.mnist_data import read_digits

    train, test = read_digits(data)
    if test is None:
        train, test = split_digits(train, seed)
    result = {"data": str(data), "train": len(train), "test": len(test), "epochs": epochs, "seed": seed}
    if dry_run:
        emit(result, f"{data}: {len(train):,} digits to train, {len(test):,} to test", as_json=as_json)
        return
    with progress_bar("classifier", quiet=quiet, unit="step") as progress:
        settings = ClassifierTraining(seed=seed, epochs=epochs)
        network = train_classifier(train, settings, device=device, progress=progress)
    accuracy = accuracy_of(network, test)
    write_classifier(out, network, accuracy=accuracy)
    text = f"{out}: reads {accuracy:.2%} of {len(test):,} unseen digits right"
    emit({**result, "classifier": str(out), "accuracy": accuracy}, text, as_json=as_json)


@mnist1k_cmd.command("stack")
@data_option
@click.option("--out", "-o", type=click.Path(path_type=Path), required=True, help="The pyramid to write.")
@click.option("--count", type=click.IntRange(min=1), default=STACKED, show_default=True, help="Stacked images.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of the choice of digits.")
@json_option
@quiet_option
@command_errors
def stack_cmd(data: Path, out: Path, count: int, seed: int, as_json: bool, quiet: bool) -> None:
    """Make the training set: random triples of digits as the red, green and blue of 32x32 images.

    \b
    Example:
      pgan mnist1k stack --data mnist/ --out mnist1k.h5 --count 60000
    """
    from pgan.mnist_data import read_digits, write_stacked

    train, _ = read_digits(data)
    with progress_bar("stack", quiet=quiet) as progress:
        write_stacked(out, train, count=count, seed=seed, progress=progress)
    result = {"pyramid": str(out), "images": count, "digits": len(train), "seed": seed}
    emit(result, f"{out}: {count:,} stacks of {len(train):,} digits", as_json=as_json)


@mnist1k_cmd.command("score")
@click.argument("source", metavar="RUN|FILE", type=click.Path(path_type=Path))
@click.option("--classifier", type=click.Path(path_type=Path), required=True, help="From `train-classifier`.")
@click.option("--samples", type=click.IntRange(min=1), default=25_600, show_default=True, help="Per evaluation.")
@click.option("--evaluations", type=click.IntRange(min=1), default=10, show_default=True, help="Averaged over.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of the first evaluation.")
@device_option
@json_option
@quiet_option
@command_errors
def score_cmd(
    source: Path,
    classifier: Path,
    samples: int,
    evaluations: int,
    seed: int,
    device: str,
    as_json: bool,
    quiet: bool,
) -> None:
    """Count the modes that a generator makes, and how far they are from uniform.

    \b
    Example:
      pgan mnist1k score runs/mnist1k --classifier classifier.safetensors
    """
    from pgan.generate import read_generator
    from pgan.mnist1k import MODES, read_classifier, score_modes

    network, accuracy = read_classifier(classifier)
    stored = read_generator(source, device)
    with progress_bar("mnist1k", quiet=quiet) as progress:
        score = score_modes(
            stored.samples, network.to(device), samples=samples, evaluations=evaluations, seed=seed, progress=progress
        )
    result = {
        "generator": str(stored.path),
        "nimg": stored.nimg,
        "classifier_accuracy": accuracy,
        "samples": samples,
        "evaluations": evaluations,
        "seed": seed,
        "modes": list(score.modes),
        "modes_mean": score.modes_mean,
        "modes_std": score.modes_std,
        "kl": list(score.kl),
        "kl_mean": score.kl_mean,
        "kl_std": score.kl_std,
    }
    text = (
        f"{stored.path}: {score.modes_mean:.1f} ± {score.modes_std:.1f} of {MODES} modes, "
        f"KL {score.kl_mean:.3f} ± {score.kl_std:.3f} ({evaluations} x {samples:,} samples)"
    )
    emit(result, text, as_json=as_json)
