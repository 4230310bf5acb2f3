"""The files that stand beside an output while it is being built."""

from dataclasses import dataclass
from pathlib import Path

from celebahq_tools.errors import UsageError

OUTPUT_SUFFIXES = (".h5", ".hdf5")


@dataclass(frozen=True, kw_only=True, slots=True)
class BuildPaths:
    """Where a build keeps its state; only `out`, `rejects` and `drift` remain when it is done.

    out      the pyramid, appears when it is whole and verified
    partial  the pyramid being filled; a slot is finished when the index has its sha256
    donor    the pyramid of an older plan, whose finished slots are taken over
    plan     one line per surveyed file: accepted items or a reject
    shards   folder of pieces rendered by the workers of a cluster
    lock     held by the one process that builds `out`
    rejects  every rejected picture with its reason
    drift    how far the restorer moved each image
    drift_journal  the same, while the build lasts
    """

    out: Path
    partial: Path
    donor: Path
    plan: Path
    shards: Path
    lock: Path
    rejects: Path
    drift: Path
    drift_journal: Path

    @classmethod
    def beside(cls, out: Path) -> "BuildPaths":
        """The state files of output `out`, in the same folder. Raises UsageError if it cannot be made there."""
        if out.suffix.lower() not in OUTPUT_SUFFIXES:
            raise UsageError(f"--out {out}: expected a name ending in .h5")
        if out.is_dir():
            raise UsageError(f"--out {out} is a folder: give the name of the file to make")
        if not out.parent.is_dir():
            raise UsageError(f"--out {out}: there is no folder {out.parent}; make it first")
        return cls(
            out=out,
            partial=out.with_name(f"{out.name}.partial"),
            donor=out.with_name(f"{out.name}.donor.partial"),
            plan=out.with_name(f"{out.stem}.plan.jsonl"),
            shards=out.with_name(f"{out.stem}.shards"),
            lock=out.with_name(f"{out.stem}.lock"),
            rejects=out.with_name(f"{out.stem}.rejects.jsonl"),
            drift=out.with_name(f"{out.stem}.drift.jsonl"),
            drift_journal=out.with_name(f"{out.stem}.drift.journal"),
        )
