"""Results as JSON, as a Markdown table, and as a plot (where matplotlib is installed)."""

from __future__ import annotations

import importlib
import importlib.util
import json
from typing import Any

from benchmarks.pairs import ROOT

_HEAD = "| | MB/s | of all runs | CPU s/GB | peak MiB | |"
RESULTS = ROOT / "benchmarks" / "results"


def save(results: dict[str, Any]) -> None:
    """Write ``datapath.json``, ``.md`` and ``.png`` in benchmarks/results; groups not measured now stay."""
    RESULTS.mkdir(exist_ok=True)
    earlier = RESULTS / "datapath.json"
    if earlier.exists():
        groups = json.loads(earlier.read_text())["groups"]
        results = results | {"groups": groups | results["groups"]}
    (RESULTS / "datapath.json").write_text(json.dumps(results, indent=2) + "\n")
    (RESULTS / "datapath.md").write_text(to_markdown(results))
    if importlib.util.find_spec("matplotlib") is not None:
        _plot(results)


def to_markdown(results: dict[str, Any]) -> str:
    """A table a group."""
    about = ", ".join(f"{key} {value}" for key, value in results["machine"].items())
    lines = [
        "# The data path, measured",
        "",
        f"`python -m benchmarks datapath --save`: medians of runs in turns; {about}.",
        "MB/s is 10^6 bytes a second; CPU is in seconds for 10^9 bytes, peak memory in MiB; both",
        "sender / receiver.",
    ]
    for group, measured in results["groups"].items():
        rows = measured["rows"]
        lines += [
            "",
            f"## {group}, medians of {measured['runs']}",
            "",
            "| | MB/s | of all runs | CPU s/GB | peak MiB | |",
            "| - | - | - | - | - | - |",
        ]
        for name, row in rows.items():
            if "error" in row:
                lines.append(f"| {name} | not measured: {row['error']} | | | | |")
                continue
            rates = f"{min(row['mb_s_runs']):g} to {max(row['mb_s_runs']):g}"
            cpu, peak = (
                " / ".join(f"{x:g}" for x in row.get(key, ())) for key in ("cpu_s_per_gb", "peak_mib")
            )
            more = "; ".join(
                f"{value:,} {word}"
                for key, word in (
                    ("mb_s_after_start", "MB/s after slow start"),
                    ("messages_per_s", "messages/s"),
                    ("delay_p99_ms", "ms p99"),
                    ("resent_percent", "% resent"),
                    ("receive_drops", "receives dropped"),
                )
                if (value := row.get(key)) is not None
            )
            lines.append(f"| {name} | {row['mb_s']:g} | {rates} | {cpu} | {peak} | {more} |")
    return "\n".join(lines) + "\n"


def _plot(results: dict[str, Any]) -> None:
    plt = importlib.import_module("matplotlib.pyplot")
    rows = {
        name: row["mb_s"]
        for group in results["groups"].values()
        for name, row in group["rows"].items()
        if "mb_s" in row
    }
    figure, axes = plt.subplots(figsize=(10, 0.3 * len(rows) + 1))
    axes.barh(
        list(rows), list(rows.values()), color=["#2a6f97" if "p2pshare" in n else "#adb5bd" for n in rows]
    )
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.set_xlabel("MB/s (logarithmic)")
    figure.tight_layout()
    figure.savefig(RESULTS / "datapath.png", dpi=100)
