"""Open a data set by what it is, where nobody has said which format it has."""

from pathlib import Path

from celebahq_tools.errors import SourceError
from celebahq_tools.formats.collection import Collection


def open_any(path: Path) -> Collection:
    """Pyramid or authors' HDF5, TFRecords, .npy/.npz, .tar, .parquet, LMDB, .mat, StyleGAN zip, pictures.

    Raises SourceError.
    """
    suffix = path.suffix.lower()
    if not path.exists():
        raise SourceError(f"{path}: no such file or folder")
    if suffix in (".h5", ".hdf5"):
        from celebahq_tools.formats.authors import open_hdf5

        return open_hdf5(path)
    if suffix in (".npy", ".npz"):
        from celebahq_tools.formats.arrays import open_numpy

        return open_numpy(path)
    if suffix == ".mat":
        from celebahq_tools.formats.svhn import open_svhn

        return open_svhn(path)
    if path.is_dir() and any(path.glob("*.tfrecords")):
        from celebahq_tools.formats.authors import open_tfrecords

        return open_tfrecords(path)
    if suffix == ".tar" or (path.is_dir() and any(path.glob("*.tar"))):
        from celebahq_tools.formats.webdataset import open_webdataset

        return open_webdataset(path)
    if suffix == ".parquet" or (path.is_dir() and any(path.glob("*.parquet"))):
        from celebahq_tools.formats.parquet import open_parquet

        return open_parquet(path)
    if suffix == ".mdb" or (path / "data.mdb").is_file():
        from celebahq_tools.formats.lsun import open_lsun

        return open_lsun(path)
    from celebahq_tools.formats.stylegan import LABELS_FILE, open_stylegan
    from celebahq_tools.trees import FolderTree, ZipTree

    tree = FolderTree(path) if path.is_dir() else ZipTree(path)
    if tree.has_file(LABELS_FILE):
        return open_stylegan(path)
    from celebahq_tools.formats.pictures import open_pictures

    return open_pictures(path)
