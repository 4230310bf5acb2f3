"""The restorer that does nothing, for the recipes without networks."""

from celebahq_tools.restore.base import Box, Pixels, RestorerStamp, checked_box


class PlainRestorer:
    """Scale 1, no context: the box is copied."""

    name = "none"
    scale = 1
    context = 0

    def stamp(self) -> RestorerStamp:
        """A stamp without weights."""
        return RestorerStamp(
            name=self.name,
            version="1",
            weights_sha256=None,
            precision="none",
            tile=0,
            device="cpu",
            licence="Apache-2.0",
        )

    def restore(self, pixels: Pixels, box: Box | None = None) -> Pixels:
        """(H, W, 3) uint8 -> a contiguous copy of the box, (y1 - y0, x1 - x0, 3) uint8."""
        x0, y0, x1, y1 = checked_box(pixels, box)
        copied: Pixels = pixels[y0:y1, x0:x1].copy()
        return copied
