"""Which of two equal forms of an operation is used at which resolution.

Fused and separate up/down convolutions, and contiguous and channels-last activations, give the same numbers up to
rounding; which is faster depends on device, precision and resolution (benchmarks/pgan_step.py).
"""

from dataclasses import dataclass

import torch


@dataclass(frozen=True, kw_only=True, slots=True)
class Form:
    """How the block of one resolution computes: its up or down convolution, and its memory format."""

    fused: bool
    channels_last: bool

    def arrange(self, x: torch.Tensor) -> torch.Tensor:
        """`x` in this form's memory format."""
        return x.contiguous(memory_format=torch.channels_last if self.channels_last else torch.contiguous_format)


@dataclass(frozen=True, kw_only=True, slots=True)
class FormPlan:
    """Forms of all resolutions.

    fused_from, channels_last_from   smallest resolution of each; 0 for all, None for none
    """

    fused_from: int | None
    channels_last_from: int | None

    def at(self, res: int) -> Form:
        """The form of the block at a resolution."""
        return Form(
            fused=self.fused_from is not None and res >= self.fused_from,
            channels_last=self.channels_last_from is not None and res >= self.channels_last_from,
        )


PLAIN_FORM = FormPlan(fused_from=None, channels_last_from=None)


def choose_forms(form: str, device: str, precision: str) -> FormPlan:
    """The plan of a configuration's `form`: 'plain', 'fused', or 'auto', a rule by device and precision.

    device  'cpu' or 'cuda'
    """
    if form == "plain":
        return PLAIN_FORM
    if device == "cuda":
        # Tensor cores take channels-last half precision without converting it.
        return FormPlan(fused_from=0, channels_last_from=None if precision == "fp32" else 0)
    if form == "fused":
        return FormPlan(fused_from=0, channels_last_from=None if precision == "fp32" else 0)
    return FormPlan(fused_from=8, channels_last_from=0)
