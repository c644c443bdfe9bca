# Ends the unit that serves files to neighbours, and removes what it served: sh -c THIS sh UNIT
set -eu
root=${IONET_ROOT:-}
PATH=${PATH:+$PATH:}$root/usr/bin:$root/bin
serve_dir=$root/var/lib/ionet/serve
systemctl stop "$1.service" >/dev/null 2>&1 || : # it may have ended by itself
rm -rf "${serve_dir:?}/$1"
rmdir "$serve_dir" 2>/dev/null || :
