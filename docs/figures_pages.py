"""Picture the hub card, the notebook, and what the terminal shows: as a browser draws them.

    pip install -e '.[browser]' nbconvert ipykernel      # and a Chromium: apt install chromium
    python docs/figures_pages.py [hub notebook diffusers slurm doctor]     # all: some minutes

Nothing is drawn by hand. The card is the README.md that `save_pretrained` writes; the notebook is
executed; a terminal holds what the commands printed, as they are named in it.
"""

from __future__ import annotations

import argparse
import html
import io
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from markdown_it import MarkdownIt
from PIL import Image
from playwright.sync_api import Page, sync_playwright
from rich.console import Console
from rich.text import Text
from small_png import save_picture

from imagen_video import ImagenVideoPipeline

DOCS = Path(__file__).parent
CARD_STYLE = """
body { font: 15px/1.5 sans-serif; max-width: 900px; margin: 24px auto; color: #1f2328 }
table { border-collapse: collapse } th, td { border: 1px solid #d0d7de; padding: 4px 10px }
pre { background: #f6f8fa; padding: 12px } h1, h2 { border-bottom: 1px solid #d0d7de }
"""
DIFFUSERS = """\
from diffusers import DiffusionPipeline
from imagen_video import ImagenVideoPipeline
from imagen_video.interop.diffusion_pipeline import ImagenVideoDiffusionPipeline
pipe = ImagenVideoPipeline.from_pretrained("emoji")
ImagenVideoDiffusionPipeline(pipe).save_pretrained("for-diffusers")
theirs = DiffusionPipeline.from_pretrained("for-diffusers")
print(type(theirs).__name__)
result = theirs("a panda on a blue background", until="base")
print(result.frames.shape, result.fps)
"""
SLURM = (
    "imagen-video plan --preset paper --stage base --gpus 64 --gpu-memory 80GB",
    'imagen-video train --stage all --launch "slurm nodes=2 gpus=8 time=24:00:00" --dry-run'
    " --preset paper --run-dir runs/paper --data SHARDS",
)


def main() -> None:
    """Draw the pictures that are named."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("pictures", nargs="*", metavar="NAME", default=list(PICTURES))
    names = parser.parse_args().pictures
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    with sync_playwright() as driver, tempfile.TemporaryDirectory() as folder:
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 960, "height": 600})
        os.chdir(folder)  # what the commands write goes nowhere else
        for name in names:
            PICTURES[name](page)
        browser.close()


def draw_hub(page: Page) -> None:
    """Draw the card of the shipped weights, without its front matter."""
    ImagenVideoPipeline.from_pretrained("emoji").save_pretrained("card")
    text = Path("card/README.md").read_text(encoding="utf-8").split("\n---\n", 1)[1]
    body = MarkdownIt("commonmark").enable("table").render(text)
    page.set_content(f"<style>{CARD_STYLE}</style>{body}")
    _save(page.screenshot(full_page=True), "hub", colours=32)


def draw_notebook(page: Page) -> None:
    """Execute the notebook and draw the page that Jupyter exports."""
    command = ["-m", "nbconvert", "--execute", "--to", "html", "--output-dir", "."]
    subprocess.run([sys.executable, *command, str(DOCS / "notebook.ipynb")], check=True)
    page.goto(Path("notebook.html").resolve().as_uri())
    # small enough to see the whole page, without the lines that progress bars leave in an export
    page.add_style_tag(
        content="video, img { width: 320px !important; height: auto !important }"
        " [data-mime-type='application/vnd.jupyter.stderr'] { display: none }"
    )
    page.evaluate(
        "Promise.all([...document.querySelectorAll('video')].map(v => new Promise(done => {"
        " v.onseeked = done; const go = () => { v.currentTime = v.duration / 2 };"
        " v.readyState ? go() : v.onloadedmetadata = go })))"
    )
    page.wait_for_timeout(3000)  # until the players have taken their spinners away
    _save(page.screenshot(full_page=True), "notebook", colours=96)


def draw_diffusers(page: Page) -> None:
    """Draw a session of Python in which diffusers loads the cascade."""
    lines = [f">>> {line}" for line in DIFFUSERS.splitlines()]
    *_, kind, shape = _output([sys.executable, "-c", DIFFUSERS]).splitlines()
    _terminal(page, "diffusers", "\n".join([*lines[:-2], kind, *lines[-2:], shape]))


def draw_slurm(page: Page) -> None:
    """Draw the plan of the paper's base, and the first of the seven jobs' scripts."""
    shown = []
    for command in SLURM:
        text = _output([sys.executable, "-m", *_module(command)])
        first, *others = text.split("\n# runs/")
        shown += [f"$ {command}", first, *([f"... and {len(others)} more scripts"] * bool(others))]
    _terminal(page, "slurm", "\n".join(shown))


def draw_doctor(page: Page) -> None:
    """Draw what the doctor says of this machine."""
    command = "imagen-video doctor"
    _terminal(page, "doctor", f"$ {command}\n{_output([sys.executable, '-m', *_module(command)])}")


PICTURES: dict[str, Callable[[Page], None]] = {
    "hub": draw_hub,
    "notebook": draw_notebook,
    "diffusers": draw_diffusers,
    "slurm": draw_slurm,
    "doctor": draw_doctor,
}


def _module(command: str) -> list[str]:
    """Return the words of a command of ours, as those of `python -m`."""
    _, *words = shlex.split(command)
    return ["imagen_video", *words]


def _output(command: list[str]) -> str:
    done = subprocess.run(
        command, check=True, text=True, stdout=subprocess.PIPE, env={**os.environ, "COLUMNS": "110"}
    )
    # the paths of the machine that draws are left out
    python = os.path.normpath(sys.executable)
    return done.stdout.replace(str(Path.cwd()), "/cluster").replace(python, "python")


def _terminal(page: Page, name: str, text: str) -> None:
    """Draw a terminal that shows a text."""
    console = Console(record=True, width=110, file=io.StringIO())
    console.print(Text.from_ansi(text), soft_wrap=False)
    svg = console.export_svg(title=html.escape(name))
    page.set_content(f"<body style='margin: 0'>{svg}</body>")
    _save(page.locator("svg").screenshot(), name, colours=32)


def _save(picture: bytes, name: str, *, colours: int) -> None:
    save_picture(Image.open(io.BytesIO(picture)), name, colours=colours)


if __name__ == "__main__":
    main()
