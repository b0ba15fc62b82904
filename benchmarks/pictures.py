"""Draw the pictures that README.md and data/README.md begin with, light and dark.

    python benchmarks/pictures.py

The training map and the timeline of the forty parity runs in data/, as a report shows them. Needs
the extra ``export`` and a browser.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from hmmdyn import analyze
from hmmdyn.choices import THEMES
from hmmdyn.report.layout import FIGURES, picture_file

ROOT = Path(__file__).parents[1]
SHOWN = ("training_map", "timeline")


def main() -> None:
    analysis = analyze(ROOT / "data" / "parity" / "metrics.parquet")
    pictures = ROOT / "docs" / "pictures"
    pictures.mkdir(exist_ok=True)
    for theme in THEMES:
        with tempfile.TemporaryDirectory() as folder:
            analysis.export(folder, ["svg"], theme=theme)
            for name in SHOWN:
                drawn = Path(folder) / FIGURES / picture_file(name, "svg")
                shutil.copy(drawn, pictures / picture_file(f"{name}_{theme}", "svg"))


if __name__ == "__main__":
    main()
