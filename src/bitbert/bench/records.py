"""What benchmark scripts keep of a figure: the commit that it was measured at, a JSON file, a table in a README."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def commit(checkout: Path, *also: str) -> str:
    """The commit of the checkout around a directory, with `+changes` if package, kernels or files `also` differ."""

    def git(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(["git", *arguments], cwd=checkout, capture_output=True, text=True)

    changed = git("diff", "--quiet", "HEAD", "--", ":/src", ":/native", *also).returncode
    return git("rev-parse", "HEAD").stdout.strip() + ("+changes" if changed else "")


def write_json(path: Path, result: Mapping[str, Any], *, on_one_line: str | None = None) -> None:
    """Write `result` at once or not at all; the field `on_one_line`, a long list, is not spread over many."""
    text = json.dumps(result if on_one_line is None else {**result, on_one_line: 0}, indent=1)
    if on_one_line is not None:
        line = json.dumps(result[on_one_line], separators=(",", ":"))
        text = text.replace(f'"{on_one_line}": 0', f'"{on_one_line}": {line}')
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".tmp")
    partial.write_text(text + "\n", encoding="utf-8")
    partial.replace(path)


def put_between(page: Path, start: str, text: str, end: str) -> None:
    """Replace what stands between the lines `start` and `end` of a page."""
    before, _, rest = page.read_text(encoding="utf-8").partition(f"{start}\n")
    page.write_text(f"{before}{start}\n{text}\n{end}{rest.partition(end)[2]}", encoding="utf-8")
