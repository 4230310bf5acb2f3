"""Versions of the libraries that can change a pixel."""

from importlib import metadata

from celebahq_tools.config import RecipeName

GEOMETRY_LIBRARIES = ("numpy", "opencv-python-headless", "pillow", "scipy")
LIBRARIES_BY_RECIPE: dict[RecipeName, tuple[str, ...]] = {
    "paper": ("dlib-bin", "torch"),
    "plain": ("dlib-bin",),
    "ffhq": ("dlib-bin",),
    "official": ("jpeglib", "numba"),
    "images": (),
}


def library_versions(recipe: RecipeName) -> dict[str, str]:
    """Name to version, "none" for what is not installed."""
    names = ("celebahq-tools", *GEOMETRY_LIBRARIES, *LIBRARIES_BY_RECIPE[recipe])
    return {name: _version(name) for name in names}


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "none"
