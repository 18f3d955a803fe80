"""`python -m imagen_video` is the command `imagen-video`."""

from __future__ import annotations

from imagen_video.cli.main import main

if __name__ == "__main__":
    raise SystemExit(main())
