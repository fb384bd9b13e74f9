#!/usr/bin/env bash
# Writes scripts/requirements/*.txt, every package with its exact version, from the *.in beside them.
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"

ensure_python
cd "$ROOT/scripts/requirements"
for direct in ha-*.in; do
  name=${direct%.in}
  overrides=()
  if [ -f "$name.overrides" ]; then overrides=(--overrides "$name.overrides"); fi
  "$UV" pip compile --no-config --quiet --no-header --no-annotate --upgrade --python "$PYTHON" \
    "${overrides[@]}" --output-file "$name.txt" "$direct"
done
