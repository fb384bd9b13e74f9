# Sourced after environment.sh: gives the tests the programs that they drive, a browser and an MQTT broker.

# Puts .dev/bin first on PATH. There are `chromium` and `mosquitto` in it, unless this machine can have neither.
ensure_programs() {
  ensure_program usr/lib/chromium/chromium --version google-chrome google-chrome-stable chromium-browser
  ensure_program usr/sbin/mosquitto -h
  export PATH="$DEV/bin:$PATH"
}

# ensure_program FILE FLAG OTHER_NAME…: makes .dev/bin/NAME start what this machine has under one of these names, else
# FILE of Debian's package NAME, unpacked below .dev/. FLAG makes it tell its version.
ensure_program() {
  local file=$1 flag=$2 name=${1##*/}
  shift 2
  if tells_version "$DEV/bin/$name" "$flag"; then return; fi
  lock
  if ! tells_version "$DEV/bin/$name" "$flag"; then
    rm -f "$DEV/bin/$name"
    present_program "$flag" "$name" "$@" || debian_program "$file" "$flag" ||
      say "Tests with $name will be skipped: this machine has none that works, nor could Debian's be unpacked this hour."
  fi
  unlock
}

tells_version() { [[ $(timeout 60 "$1" "$2" 2>/dev/null </dev/null) =~ [0-9]\.[0-9] ]]; }

# present_program FLAG NAME OTHER_NAME…
present_program() {
  local flag=$1 name=$2 path
  shift
  for path in "$@"; do
    # Debian keeps servers where a user's PATH does not lead.
    path=$(PATH="$PATH:/usr/local/sbin:/usr/sbin" && command -v "$path") || continue
    if tells_version "$path" "$flag"; then
      write_program "$name" "$path"
      return
    fi
  done
  return 1
}

# debian_program FILE FLAG
debian_program() {
  local name=${1##*/} failed="$DEV/${1##*/}.failed"
  # Nobody who is offline should wait for it at each run. CI cannot do without.
  if [ "${CI:-}" != true ] && [ -n "$(find "$failed" -mmin -60 2>/dev/null)" ]; then return 1; fi
  say "Unpacking Debian's $name …"
  if unpack_program "$name" "$1" && tells_version "$DEV/bin/$name" "$2"; then return; fi
  rm -f "$DEV/bin/$name"
  touch "$failed"
  return 1
}

# Only what the machine lacks: the program finds the rest where it always is. But all that lies beside the program has
# to lie beside it here, too.
unpack_program() {
  local name=$1 folder="$DEV/$1" libraries
  unpack_from_debian "$folder" "$(own_release)" \
    install --download-only --reinstall --no-install-recommends --yes "^$name(-common)?\$" || return 1
  libraries=$(find "$folder" -path '*-linux-gnu*' -name '*.so*' -printf '%h\n' | sort -u | paste -sd:)
  fonts_conf "$folder" >"$folder/fonts.conf"
  write_program "$name" env "LD_LIBRARY_PATH=$libraries" "FONTCONFIG_FILE=$folder/fonts.conf" "$folder/$2"
}

# The machine's fonts, where it has some, and those that came with the program.
fonts_conf() {
  cat <<END
<fontconfig>
  <include ignore_missing="yes">/etc/fonts/fonts.conf</include>
  <include ignore_missing="yes">$1/usr/share/fontconfig/conf.avail/60-latin.conf</include>
  <dir>$1/usr/share/fonts</dir>
  <cachedir>$1/fonts-cache</cachedir>
</fontconfig>
END
}

# write_program NAME COMMAND…: makes .dev/bin/NAME start a command.
write_program() {
  local file="$DEV/bin/$1"
  shift
  mkdir -p "$DEV/bin"
  printf '#!/bin/sh\nexec%s "$@"\n' "$(printf ' %q' "$@")" >"$file"
  chmod +x "$file"
}
