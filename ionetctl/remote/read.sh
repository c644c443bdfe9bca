# Prints text files for --diff: one line a file, "text", its path and its content in base64. Changes nothing.
# Usage: sh -s -- NONCE PATH...
set -eu
export LC_ALL=C
nonce=$1
shift
printf 'ionet-read\t1\t%s\n' "$nonce"
for path in "$@"; do
  if [ -f "${IONET_ROOT:-}$path" ]; then
    printf 'text\t%s\t' "$path"
    head -c 65536 "${IONET_ROOT:-}$path" </dev/null | base64 | tr -d '\n'
    printf '\n'
  fi
done
printf 'ionet-read-end\t%s\n' "$nonce"
