#!/bin/sh
# Sets up what the bench compares with: `set_up.sh BUILD PYTHON`. Peers of PyPI go into BUILD/peers. Peers and an SSH server
# of Debian are installed where that may be done: as root, and an SSH server only where systemd would not start it at boot.
# What cannot be had is named, and the bench leaves it out. Run in the top folder of the repository.
set -u
build=$1 python=$2
pins=${0%/*}/peers/constraints.txt
PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin"

if ! cmp -s "$pins" "$build/peers/constraints.txt"; then
  mkdir -p "$build" && rm -rf "$build/peers"
  if "$python" -m venv "$build/peers" &&
    "$build/peers/bin/python" -m pip --disable-pip-version-check --quiet install --requirement "$pins"; then
    cp "$pins" "$build/peers/constraints.txt"
  else
    echo "the peers of PyPI cannot be installed here; the bench leaves them out" >&2
  fi
fi

# As in an installed ionetctl, whose modules are compiled.
"$python" -m compileall -q ionetctl

absent=
for pair in pdsh:pdsh clush:clustershell sshd:openssh-server unshare:util-linux ip:iproute2; do
  command -v "${pair%%:*}" >/dev/null 2>&1 || absent="$absent ${pair#*:}"
done
if [ -n "$absent" ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
  if [ -d /run/systemd/system ]; then
    absent=$(printf '%s' "$absent" | sed 's/ openssh-server//')
  fi
  export DEBIAN_FRONTEND=noninteractive RUNLEVEL=1
  bounds="-o Acquire::Retries=0 -o Acquire::http::Timeout=10 -o Acquire::https::Timeout=10"
  # shellcheck disable=SC2086  # lists of words
  { timeout 120 apt-get -q $bounds update &&
    timeout 600 apt-get -q -y $bounds --no-install-recommends install $absent; } >/dev/null 2>&1 </dev/null ||
    echo "cannot be installed here:$absent" >&2
fi
exit 0
