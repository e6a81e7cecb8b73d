#!/usr/bin/env bash
# Makes .venv with the package (editable) and its pinned dependencies. Does nothing when it is up to date.
# Usage: scripts/make_venv.sh [PYTHON]    (an interpreter; otherwise the first suitable one on PATH)
set -euo pipefail
cd "$(dirname "$0")/.."

supported() {
  "$1" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info < (3, 14))' >/dev/null 2>&1
}

python=${1:-}
if [ -z "$python" ]; then
  for candidate in python3 python3.11 python3.12 python3.10 python3.13; do
    if supported "$candidate"; then
      python=$candidate
      break
    fi
  done
fi
if [ -z "$python" ] || ! supported "$python"; then
  echo "error: ${python:-python3} is not Python 3.10, 3.11, 3.12 or 3.13; name one that is, as in: make PYTHON=python3.11" >&2
  exit 1
fi

# What the environment was made from; written last, so that an interrupted installation is taken up again.
stamp=.venv/installed
made_from=$("$python" -VV; pwd; cat setup.py constraints.txt tests/larq_zoo.txt; grep __version__ bcnet_keras/__init__.py)
if [ -x .venv/bin/python ] && [ "$(cat "$stamp" 2>/dev/null)" = "$made_from" ]; then
  exit 0
fi

version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
if ! "$python" -c 'import venv, ensurepip' 2>/dev/null; then
  scripts/debian_packages.sh "python$version-venv"
  if ! "$python" -c 'import venv, ensurepip' 2>/dev/null; then
    echo "error: $python has no venv module; on Debian and Ubuntu run: sudo apt-get install python$version-venv" >&2
    exit 1
  fi
fi

echo "Installing into .venv with Python $version"
"$python" -m venv --clear .venv
.venv/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[train,test,docs]'
.venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps -r tests/larq_zoo.txt
printf '%s\n' "$made_from" >"$stamp"
