#!/usr/bin/env python3
"""Takes pictures of the report and the profile page in Chromium, light and dark, wide and narrow, into docs/images.

    python scripts/make_screenshots.py runs/demo

The folder is that of a finished run. Needs Debian's `chromium`.
"""

import pathlib
import shutil
import subprocess
import sys
import tempfile

from PIL import Image

IMAGES = pathlib.Path(__file__).parents[1] / "docs" / "images"
SIZES = {"wide": (1200, 1500), "narrow": (500, 1500)}  # Chromium has no narrower window; 400 px are set in the page
PREFERS = {"light": "1", "dark": "0"}  # Blink's numbers


def main(run):
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        sys.exit("no Chromium found; run: apt-get install chromium")
    from bcnet_keras.device.page import profile_page
    from bcnet_keras.device.profile import Profile

    run = pathlib.Path(run)
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        profile = folder / "profile.html"
        found = Profile.of(str(run / "pair.tflite"), board_name="nucleo-f446re", escalation_rate=0.3)
        profile.write_text(profile_page(found))
        for name, page in (("report", run / "report.html"), ("profile", profile)):
            for size, (width, height) in SIZES.items():
                shown = folder / "shown.html"
                narrow = "<style>html { width: 400px }</style></head>" if size == "narrow" else "</head>"
                shown.write_text(page.read_text().replace("</head>", narrow, 1))
                for mode, prefers in PREFERS.items():
                    picture = folder / "shown.png"
                    command = [chromium, "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
                    command += [f"--user-data-dir={folder / 'browser'}", f"--window-size={width},{height}"]
                    command += [f"--blink-settings=preferredColorScheme={prefers}", f"--screenshot={picture}"]
                    subprocess.run([*command, shown.as_uri()], check=True, capture_output=True, timeout=120)
                    image = Image.open(picture).convert("RGB").crop((0, 0, 400 if size == "narrow" else width, height))
                    image.quantize(64).save(IMAGES / f"{name}_{size}_{mode}.png", optimize=True)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python scripts/make_screenshots.py RUN_FOLDER")
    main(sys.argv[1])
