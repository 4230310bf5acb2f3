"""The kinds of `celebahq import`."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from celebahq_tools.cli.importing import ImportRequest, import_cmd, kind

if TYPE_CHECKING:
    from celebahq_tools.formats.collection import Collection

__all__ = ["import_cmd"]

labels_option = click.option(
    "--labels", type=click.Path(path_type=Path), help="Labels by file name, CSV with a header or JSON."
)


@kind("images")
@labels_option
def import_images(request: ImportRequest, labels: Path | None) -> None:
    """Pictures in a folder or zip, labelled by their first sub-folder or by a file.

    Square pictures are taken as they are, resized (Lanczos) if they have another size.

    \b
    Example:
      celebahq import images cifar10/ --out cifar10.h5 --res 32
    """

    def opened() -> "Collection":
        from celebahq_tools.formats.pictures import open_pictures

        return open_pictures(request.source, labels)

    request.run(opened)


@kind("numpy")
@click.option("--labels", type=click.Path(path_type=Path), help="A .npy of labels, (N,) classes or (N, L).")
def import_numpy(request: ImportRequest, labels: Path | None) -> None:
    """An array of images, .npy or .npz, uint8 (N, H, W, 3), (N, 3, H, W) or (N, H, W).

    \b
    Example:
      celebahq import numpy images.npy --labels labels.npy --out set.h5
    """

    def opened() -> "Collection":
        from celebahq_tools.formats.arrays import open_numpy

        return open_numpy(request.source, labels)

    request.run(opened)


part_option = click.option(
    "--part", type=click.Choice(["train", "test", "all"]), default="train", show_default=True, help="Which part."
)


@kind("cifar10")
@part_option
def import_cifar10(request: ImportRequest, part: str) -> None:
    """CIFAR-10, the binary or the Python version, a folder or the .tar.gz (class folders of pictures: `images`).

    \b
    Example:
      celebahq import cifar10 cifar-10-binary.tar.gz --out cifar10.h5
    """

    def opened() -> "Collection":
        from celebahq_tools.formats.cifar import open_cifar

        return open_cifar(request.source, 10, part)

    request.run(opened)


@kind("cifar100")
@part_option
@click.option("--coarse", is_flag=True, help="The 20 superclasses instead of the 100 classes.")
def import_cifar100(request: ImportRequest, part: str, coarse: bool) -> None:
    """CIFAR-100, the binary or the Python version, a folder or the .tar.gz.

    \b
    Example:
      celebahq import cifar100 cifar-100-python.tar.gz --out cifar100.h5
    """

    def opened() -> "Collection":
        from celebahq_tools.formats.cifar import open_cifar

        return open_cifar(request.source, 100, part, coarse=coarse)

    request.run(opened)


@kind("mnist")
@part_option
def import_mnist(request: ImportRequest, part: str) -> None:
    """MNIST's idx files (.gz or not) in a folder, 28x28 padded to 32x32 and grey in all channels.

    \b
    Example:
      celebahq import mnist mnist/ --out mnist.h5
    """

    def opened() -> "Collection":
        from celebahq_tools.formats.mnist import open_mnist

        return open_mnist(request.source, part)

    request.run(opened)


@kind("mnist-rgb")
@click.option("--n", type=click.IntRange(min=1), default=200_000, show_default=True, help="Number of images.")
@click.option("--seed", type=click.IntRange(min=0), default=123, show_default=True, help="Which digits are drawn.")
def import_mnist_rgb(request: ImportRequest, n: int, seed: int) -> None:
    """MNIST-RGB: three random digits stacked as red, green and blue; 1000 classes.

    \b
    Example:
      celebahq import mnist-rgb mnist/ --n 200000 --out mnist-rgb.h5
    """

    def opened() -> "Collection":
        from celebahq_tools.formats.mnist import open_mnist_rgb

        return open_mnist_rgb(request.source, n, seed)

    request.run(opened)


@kind("tfrecords")
@click.option("--unshuffle", is_flag=True, help="Undo the authors' shuffling: images in the order before it.")
def import_tfrecords(request: ImportRequest, unshuffle: bool) -> None:
    """The authors' folder of NAME-r02.tfrecords ... NAME-r10.tfrecords and NAME-rxx.labels.

    \b
    Example:
      celebahq import tfrecords datasets/celebahq/ --out celebahq.h5
    """

    def opened() -> "Collection":
        from celebahq_tools.formats.authors import open_tfrecords

        return open_tfrecords(request.source, request.res, unshuffle=unshuffle)

    request.run(opened)


@kind("hdf5")
def import_hdf5(request: ImportRequest) -> None:
    """The authors' HDF5 file with its NAME-labels.npy, or a pyramid of this program.

    \b
    Example:
      celebahq import hdf5 celeba-hq-1024x1024.h5 --out celebahq.h5
    """

    def opened() -> "Collection":
        from celebahq_tools.formats.authors import open_hdf5

        return open_hdf5(request.source, request.res)

    request.run(opened)


@kind("svhn")
def import_svhn(request: ImportRequest) -> None:
    """SVHN's cropped digits: train_32x32.mat, test_32x32.mat or extra_32x32.mat.

    \b
    Example:
      celebahq import svhn train_32x32.mat --out svhn.h5
    """

    def opened() -> "Collection":
        from celebahq_tools.formats.svhn import open_svhn

        return open_svhn(request.source)

    request.run(opened)


@kind("lsun", fit="crop")
def import_lsun(request: ImportRequest) -> None:
    """LSUN's LMDB of JPEG or WebP pictures: the centre square, at 256x256 unless --res says otherwise.

    \b
    Example:
      celebahq import lsun bedroom_train_lmdb/ --out bedroom.h5 --limit 300000
    """

    def opened() -> "Collection":
        from celebahq_tools.formats.lsun import open_lsun

        return open_lsun(request.source)

    request.run(opened)


@kind("celeba")
def import_celeba(request: ImportRequest) -> None:
    """CelebA's aligned pictures (178x218): 128x128 pixels around (89, 121), with attributes and partition.

    \b
    Example:
      celebahq import celeba CelebA/ --out celeba-128.h5
    """

    def opened() -> "Collection":
        from celebahq_tools.formats.faces import open_celeba_aligned

        return open_celeba_aligned(request.source)

    request.run(opened)


@kind("ffhq")
def import_ffhq(request: ImportRequest) -> None:
    """FFHQ: the folder images1024x1024 or thumbnails128x128.

    \b
    Example:
      celebahq import ffhq images1024x1024/ --out ffhq.h5 --jobs 8
    """

    def opened() -> "Collection":
        from celebahq_tools.formats.faces import open_ffhq

        return open_ffhq(request.source)

    request.run(opened)


@kind("stylegan")
def import_stylegan(request: ImportRequest) -> None:
    """A data set of StyleGAN2-ADA or StyleGAN3: a zip or folder of PNG files with dataset.json.

    \b
    Example:
      celebahq import stylegan ffhq-256x256.zip --out ffhq-256.h5
    """

    def opened() -> "Collection":
        from celebahq_tools.formats.stylegan import open_stylegan

        return open_stylegan(request.source)

    request.run(opened)


@kind("webdataset")
def import_webdataset(request: ImportRequest) -> None:
    """A WebDataset: a .tar, or a folder of them; labels from .cls, .txt or .json.

    \b
    Example:
      celebahq import webdataset shards/ --out set.h5 --res 256 --fit crop
    """

    def opened() -> "Collection":
        from celebahq_tools.formats.webdataset import open_webdataset

        return open_webdataset(request.source)

    request.run(opened)


@kind("parquet")
@click.option("--image-column", help="Default: image or img.")
@click.option("--label-column", help="Default: label, labels or fine_label.")
def import_parquet(request: ImportRequest, image_column: str | None, label_column: str | None) -> None:
    """Parquet in the style of HuggingFace, one file or a folder of them.

    \b
    Example:
      celebahq import parquet data/ --out set.h5 --res 32
    """

    def opened() -> "Collection":
        from celebahq_tools.formats.parquet import open_parquet

        return open_parquet(request.source, image_column, label_column)

    request.run(opened)
