"""The state of a run, from its directory alone."""

from pathlib import Path
from typing import Any

from pgan.generate import network_files
from pgan.run import RunDirectory


def run_status(path: Path) -> dict[str, Any]:
    """Progress, speed, metrics and files of a run as JSON values. RunError when there is no run."""
    run = RunDirectory(path)
    config, data = run.read_config()
    records = run.records()
    ticks = [record for record in records if record.get("kind") == "tick"]
    measured = [record for record in records if record.get("kind") == "metrics"]
    last = ticks[-1] if ticks else {}
    kimg, total = float(last.get("kimg", 0.0)), config.schedule.total_kimg
    rate = last.get("sec_per_kimg")
    ended = records[-1].get("reason") if records and records[-1].get("kind") == "stop" else None
    return {
        "run": str(path),
        "preset": config.preset,
        "data": data.get("path"),
        "state": ended or "running or killed",
        "kimg": kimg,
        "total_kimg": total,
        "res": last.get("res"),
        "lod": last.get("lod"),
        "sec_per_kimg": rate,
        "eta_sec": None if rate is None or ended else max(total - kimg, 0.0) * float(rate),
        "train_sec": last.get("train_sec"),
        "data_wait": last.get("data_wait"),
        "metrics": measured[-1]["values"] if measured else {},
        "metrics_kimg": measured[-1]["kimg"] if measured else None,
        "checkpoints": [place.name for place in run.checkpoints()],
        "networks": len(network_files(path)),
    }


def status_text(status: dict[str, Any]) -> str:
    """The same for people."""
    lines = [f"{status['run']}: preset {status['preset']}, {status['state']}"]
    lines.append(f"{status['kimg']:.1f} of {status['total_kimg']:.0f} kimg")
    if status["sec_per_kimg"] is not None:
        left = "" if status["eta_sec"] is None else f", {status['eta_sec'] / 3600:.1f} h left at this rate"
        lines.append(
            f"{status['res']}x{status['res']}, lod {status['lod']:.2f}, {status['sec_per_kimg']:.2f} sec/kimg, "
            f"{status['data_wait']:.1%} of the time waiting for data{left}"
        )
    if status["metrics"]:
        values = ", ".join(f"{name} {value:.3f}" for name, value in status["metrics"].items())
        lines.append(f"at {status['metrics_kimg']:.0f} kimg: {values}")
    lines.append(f"{len(status['checkpoints'])} checkpoints, {status['networks']} networks")
    return "\n".join(lines)
