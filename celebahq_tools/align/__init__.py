"""From landmarks to a square crop: the geometry of CelebA-HQ, as pure functions on arrays.

One convention holds in this package. Positions are (x, y) in pixels, x to the right, y down, with the
origin at the *centre* of the top-left pixel: pixel (i, j) covers [i - 0.5, i + 0.5] x [j - 0.5, j + 0.5], and
a landmark "193 197" of an annotation file is the centre of that pixel. A position counted from the *corner* of
the picture is larger by (0.5, 0.5); `docs/geometry.md` tells what the published data set makes of that.

quad    (4, 2) float64, corners of the crop square: top-left, bottom-left, bottom-right, top-right of the crop.
        The square is the outline of the output picture, not the centres of its corner pixels.
box     (x0, y0, x1, y1) ints: rows y0..y1-1 and columns x0..x1-1 of an array.
pixels  (H, W, 3) uint8 RGB
image   (3, res, res) uint8 RGB
"""

from celebahq_tools.align.crop import extract_crop, needed_box
from celebahq_tools.align.quads import ffhq_quad, paper_quad, published_quad, quad_side, scale_quad

__all__ = [
    "extract_crop",
    "ffhq_quad",
    "needed_box",
    "paper_quad",
    "published_quad",
    "quad_side",
    "scale_quad",
]
