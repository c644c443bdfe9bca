# What a host is and has, in the format of docs/explanation/host-protocol.md. It reads and never writes, and ends with 0. It travels
# with the functions of survey_machine.sh, survey_disks.sh, survey_network.sh, survey_work.sh and survey_mining.sh before it.
#
#   sh -s -- NONCE SERVERS PATH...    SERVERS as host:port,… (or -); the PATHs are those that a bundle manages
#
# Paths stand below $IONET_ROOT, which is empty on a real host; only the start times of processes are always the
# kernel's own, and mounts where the tree has no table of them.
# shellcheck disable=SC2034,SC2154 # some variables are set here and used in a part, or the other way round
set -eu
umask 077
export LC_ALL=C
root=${IONET_ROOT:-}
for directory in /usr/local/sbin /usr/local/bin /usr/sbin /usr/bin /sbin /bin /snap/bin; do
    PATH=${PATH:+$PATH:}$root$directory
done
config_dir=/etc/nomad.d
data_dir=/opt/nomad/data
our_dir=/var/lib/ionet
unit=nomad.service
tab=$(printf '\t')
nl='
'
grace_s=2

# fact KEY VALUE...: one record; what would break it becomes a space.
fact() {
    line=$1
    shift
    for value in "$@"; do
        while :; do
            case $value in
            *"$tab"*) value="${value%%"$tab"*} ${value#*"$tab"}" ;;
            *"$nl"*) value="${value%%"$nl"*} ${value#*"$nl"}" ;;
            *) break ;;
            esac
        done
        line=$line$tab$value
    done
    printf '%.4000s\n' "$line"
}

# known KEY VALUE: a fact, where there is one.
known() {
    if [ -n "$2" ]; then fact "$1" "$2"; fi
}

# first_line FILE: $got becomes its first line; empty where there is none.
first_line() {
    got=
    { IFS= read -r got <"$1" || :; } 2>/dev/null
}

# answer SECONDS COMMAND...: what the command prints, whole or not at all: nothing where it is ended before it has said all.
# shellcheck disable=SC2329 # the parts call it
answer() {
    answer_status=0
    said=$(within "$@" </dev/null) || answer_status=$?
    if [ "$answer_status" -lt 124 ] && [ -n "$said" ]; then printf '%s\n' "$said"; fi
    return "$answer_status"
}

os_release() {
    id='' version='' name=''
    file=$root/etc/os-release
    if [ ! -r "$file" ]; then file=$root/usr/lib/os-release; fi
    if [ ! -r "$file" ]; then return; fi
    while IFS='=' read -r key value || [ -n "$key" ]; do
        value=${value#[\"\']}
        value=${value%[\"\']}
        case $key in
        ID) id=$value ;;
        VERSION_ID) version=$value ;;
        PRETTY_NAME) name=$value ;;
        esac
    done <"$file"
    known os.id "$id"
    known os.version "$version"
    known os.name "$name"
}

tools() {
    for tool in tar gzip zstd xz sha256sum systemctl timeout; do
        if has "$tool"; then fact tool "$tool"; fi
    done
}

# ticks PID: when that process started, in clock ticks since boot; empty when there is none.
ticks() {
    first_line "/proc/$1/stat"
    # shellcheck disable=SC2086 # the numbers after the command's name
    set -- ${got##*\)}
    echo "${20:-}"
}

holder() {
    if ! held=$(readlink "$root$our_dir/lock" 2>/dev/null); then return; fi
    IFS=$tab
    set -f
    # shellcheck disable=SC2086 # the lock's fields
    set -- $held
    set +f
    unset IFS
    if [ "${6:-}" = "$boot" ] && [ -n "${4:-}" ] && [ "${5:-}" = "$(ticks "$4")" ]; then
        fact lock "$1" "$2" "$3"
    fi
}

ours() {
    if [ -e "$root$our_dir/pending" ]; then fact interrupted 1; fi
    holder
    if [ -r "$root$our_dir/manifest" ]; then
        fact ours 1
        sed -n "s/^\([0-9a-f]\{64\}\)  /manifest$tab\1$tab/p" "$root$our_dir/manifest"
    fi
    if [ -f "$root$config_dir/tls/client.pem" ] && has base64; then
        head -c 65536 "$root$config_dir/tls/client.pem" | base64 | sed "s/^/cert$tab/"
    fi
}

# configuration PATH...: all of what the agent or its unit would read, and every PATH with its digest.
configuration() {
    asked=$nl
    for path in "$@"; do asked=$asked$path$nl; done
    for file in "$root$config_dir"/*.hcl "$root$config_dir"/*.json "$root/etc/systemd/system/$unit.d"/*.conf \
        "$root/run/systemd/system/$unit.d"/*.conf "$root/usr/lib/systemd/system/$unit.d"/*.conf; do
        if [ ! -f "$file" ]; then continue; fi
        path=${file#"$root"}
        fact nomad.config "$path"
        case $asked in *"$nl$path$nl"*) ;; *) set -- "$@" "$path" ;; esac
    done
    files "$@"
}

# files PATH...: digest, mode and owner of those that are regular files, target of those that are links.
files() {
    for path in "$@"; do
        shift
        if [ -L "$root$path" ]; then
            target=$(readlink "$root$path")
            fact link "${target#"$root"}" "$path"
        elif [ -f "$root$path" ]; then
            set -- "$@" "$root$path"
        fi
    done
    if [ $# = 0 ]; then return; fi
    rights=$nl$(stat -c "%n$tab%a$tab%U:%G" "$@")
    sha256sum "$@" | while IFS= read -r line; do
        path=${line#*  }
        case $rights in *"$nl$path$tab"*) ;; *) continue ;; esac
        right=${rights#*"$nl$path$tab"}
        right=${right%%"$nl"*}
        mode=000${right%%"$tab"*}
        fact file "${line%% *}" "${mode#"${mode%????}"}" "${right#*"$tab"}" "${path#"$root"}"
    done
}

# beside SECONDS PART...: runs the parts at the same time and prints their output: first the process id of a timer, last
# a line "end". A part that is stuck in the kernel cannot be ended by a signal: when the time is up, it is left behind.
beside() {
    # By exec, since a redirected block keeps the old standard error open, and with it the connection.
    exec 2>/dev/null
    sleep "$1" >/dev/null &
    timer=$!
    echo "$timer"
    shift
    {
        for part in "$@"; do "$part" & done
        wait
        echo end
    } &
    wait "$timer" || :
    echo end
}

# relay: passes on the output of beside, until its end.
relay() {
    read -r timer
    at_once "$@" </dev/null
    while IFS= read -r line; do
        if [ "$line" = end ]; then break; fi
        printf '%s\n' "$line"
    done
    kill "$timer" 2>/dev/null || :
}

# at_once PATH...: what is only read, one after the other.
at_once() {
    os_release
    machine
    cgroups
    disks / /opt/nomad /opt/nomad/data "$config_dir" "$our_dir" /usr/local/bin /tmp /var/tmp /var/log
    system_disk
    tools
    processes
    ours
    configuration "$@"
    interfaces
}

survey() {
    nonce=$1 servers=$2
    shift 2
    fact ionet-survey 1 "$nonce"
    beside 20 reaches containers systemd nomad mining firewalls kernel_log driver | relay "$@"
    fact ionet-survey-end "$nonce"
}

# All of it is read before any of it runs: it comes on standard input, and a torn script must do nothing.
survey "$@" </dev/null
exit 0
