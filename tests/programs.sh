#!/bin/sh
# Sees to the programs of the machine that tests run: installs their packages where it may (root on Debian), and names
# those that stay absent. It ends with 0 when all are there; otherwise with 1, and the tests that need them are skipped.
set -u
PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin"

packages_by_program="busybox:busybox cc:gcc curl:curl debootstrap:debootstrap ip:iproute2 jq:jq openssl:openssl
  ssh-keygen:openssh-client systemd-nspawn:systemd-container"

list_absent() { # prints the pairs of programs that this machine does not have
  for pair in $packages_by_program; do
    command -v "${pair%%:*}" >/dev/null 2>&1 || printf '%s ' "$pair"
  done
}

absent=$(list_absent)
if [ -n "$absent" ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
  packages=
  for pair in $absent; do
    packages="$packages ${pair#*:}"
    # Without the C library's headers a compiler builds nothing.
    if [ "$pair" = cc:gcc ]; then packages="$packages libc6-dev"; fi
  done
  echo "installing$packages"
  # A machine without a way out should not wait long for it.
  bounds="-o Acquire::Retries=0 -o Acquire::http::Timeout=10 -o Acquire::https::Timeout=10"
  export DEBIAN_FRONTEND=noninteractive
  # shellcheck disable=SC2086  # lists of words
  { timeout 120 apt-get -q $bounds update && timeout 600 apt-get -q -y $bounds --no-install-recommends install $packages; } \
    >/dev/null 2>&1 </dev/null
  absent=$(list_absent)
fi

[ -n "$absent" ] || exit 0
printf 'not on this machine:' >&2
for pair in $absent; do printf ' %s' "${pair%%:*}" >&2; done
echo '; the tests that need them are skipped' >&2
exit 1
