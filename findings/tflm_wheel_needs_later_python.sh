#!/usr/bin/env bash
# Guess: a wheel whose name says cp311 or cp312 runs on CPython 3.11 or 3.12.
# What happens: pip installs it without a word, and the import ends with an undefined symbol: the library inside was
# compiled for CPython 3.13. The nightly of two weeks later is right.
# Version: tflite-micro 0.dev20260914210123 and 0.dev20260928214037, on CPython 3.11 and 3.12.
# Misled: whoever pins a nightly, or asks for a range of them, because it installs.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

python3 -c 'import sys; sys.exit(sys.version_info[:2] not in [(3, 11), (3, 12)])'
for version in 0.dev20260914210123 0.dev20260928214037; do
  python3 -m venv --without-pip "$dir/$version"
  python3 -m pip --python "$dir/$version/bin/python" install -q --disable-pip-version-check \
    "tflite-micro==$version" flatbuffers==25.12.19 numpy==2.2.6
  said=$("$dir/$version/bin/python" -c 'from tflite_micro import runtime; print("imported")' 2>&1 | tail -n 1) || true
  echo "$version: $said"
  echo "$said" >>"$dir/said"
done
sed -n 1p "$dir/said" | grep -q 'undefined symbol: Py'
sed -n 2p "$dir/said" | grep -qx imported
