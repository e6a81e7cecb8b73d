#!/usr/bin/env bash
# Installs the Debian or Ubuntu packages named as arguments that are missing, where there is the right to do so;
# otherwise says which to install. Never fails: what needs a missing package says so itself.
set -u

missing=()
for package in "$@"; do
  status=$(dpkg-query --show --showformat='${db:Status-Status}' "$package" 2>/dev/null)
  [ "$status" = installed ] || missing+=("$package")
done
[ ${#missing[@]} -gt 0 ] || exit 0

as_root=()
if [ "$(id -u)" -ne 0 ]; then
  as_root=(sudo -n)
fi
if command -v apt-get >/dev/null && "${as_root[@]}" true 2>/dev/null; then
  echo "Installing Debian packages: ${missing[*]}"
  apt=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq -o Dpkg::Use-Pty=0)
  "${apt[@]}" update
  known=()
  for package in "${missing[@]}"; do
    # Releases split their packages in different ways: what one does not know may be part of another.
    if apt-cache show "$package" >/dev/null 2>&1; then
      known+=("$package")
    else
      echo "apt knows no package $package here" >&2
    fi
  done
  [ ${#known[@]} -gt 0 ] || exit 0
  if "${apt[@]}" install --yes --no-install-recommends "${known[@]}" >/dev/null; then
    exit 0
  fi
fi
echo "Missing packages; please run: sudo apt-get install ${missing[*]}" >&2
