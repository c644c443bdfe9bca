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

# record LINE: goes into $records; a part that runs beside the rest writes it at once, in one piece.
record() {
    if [ "$is_beside" = 1 ]; then printf '%s\n' "$1"; else records=$records$1$nl; fi
}

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
    if [ "${#line}" -gt 4000 ]; then line=$(printf '%.4000s' "$line"); fi
    record "$line"
}

# known KEY VALUE: a fact, where there is one.
known() {
    if [ -n "$2" ]; then fact "$1" "$2"; fi
}

# ask SECONDS COMMAND...: $said becomes what the program prints, whole or not at all: nothing where it is ended before it has
# said all. The status is as of within, which would be a process more for each.
# shellcheck disable=SC2329 # the parts call it
ask() {
    ask_s=$1 ask_status=0
    shift
    if has timeout; then set -- timeout -k "$grace_s" "$ask_s" "$@"; fi
    read_clock
    ask_began=$now
    said=$(exec "$@" </dev/null) || ask_status=$?
    if [ "$ask_status" = 0 ]; then return; fi
    read_clock
    if [ $((now - ask_began)) -ge $((ask_s * 100 - 10)) ]; then ask_status=124; fi
    if [ "$ask_status" -ge 124 ]; then said=; fi
    return "$ask_status"
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
    for tool in tar gzip zstd xz sha256sum systemctl timeout openssl; do
        if has "$tool"; then fact tool "$tool"; fi
    done
}

ours() {
    if [ -e "$root$our_dir/pending" ]; then fact interrupted 1; fi
    find_holder
    if [ -n "$holder" ]; then fact lock "$holder" "$holder_owner" "$holder_start"; fi
    case $fence in '' | 0* | *[!0-9]* | ????????????????*) ;; *) fact fence "$fence" ;; esac
    if [ -r "$root$our_dir/manifest" ]; then fact ours 1; fi
    if [ -f "$root$config_dir/tls/client.pem" ] && has base64; then
        said=$(head -c 65536 "$root$config_dir/tls/client.pem" | base64)
        IFS=$nl
        for line in $said; do records=${records}cert$tab$line$nl; done
        unset IFS
        own_key
    fi
}

# own_key: the public key of a private key that was made here; the manifest has those that were sent to the host.
own_key() {
    key=$config_dir/tls/client-key.pem
    if [ ! -f "$root$key" ] || [ ! -r "$root$our_dir/manifest" ] || ! has openssl; then return; fi
    while IFS= read -r line; do
        case $line in *"  $key") return ;; esac
    done <"$root$our_dir/manifest"
    ask 5 openssl pkey -in "$root$key" -pubout 2>/dev/null || return 0
    said=${said#*"$nl"}
    said=${said%"$nl"*}
    IFS=$nl
    key=
    for line in $said; do key=$key$line; done
    unset IFS
    known key "$key"
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
    # Of one that has gone, or cannot be read, there is no record.
    rights=$nl$(stat -c "%n$tab%a$tab%U:%G" "$@" || :)
    digests=$(sha256sum "$@" || :)$nl
    while [ -n "$digests" ]; do
        row=${digests%%"$nl"*}
        digests=${digests#*"$nl"}
        path=${row#*  }
        case $rights in *"$nl$path$tab"*) ;; *) continue ;; esac
        right=${rights#*"$nl$path$tab"}
        right=${right%%"$nl"*}
        mode=000${right%%"$tab"*}
        fact file "${row%% *}" "${mode#"${mode%????}"}" "${right#*"$tab"}" "${path#"$root"}"
    done
}

# beside SECONDS PART...: runs the parts at the same time and prints their output: first the process id of a timer, last
# a line "end". A part that is stuck in the kernel cannot be ended by a signal: when the time is up, it is left behind.
beside() {
    # By exec, since a redirected block keeps the old standard error open, and with it the connection.
    exec 2>/dev/null
    is_beside=1
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

# gather PATH...: prints all records at once: its own, and the output of beside, until its end.
gather() {
    read -r timer
    fact ionet-survey 1 "$nonce"
    at_once "$@" </dev/null
    docker_dir=
    while IFS= read -r line; do
        case $line in
        end) break ;;
        "docker-dir$tab"*) docker_dir=${line#*"$tab"} ;;
        *) records=$records$line$nl ;;
        esac
    done
    kill "$timer" 2>/dev/null || :
    # After the others, since Docker says where its disk is; one look at the kernel's tables for all.
    disks / /opt/nomad /opt/nomad/data "$config_dir" "$our_dir" /usr/local/bin /tmp /var/tmp /var/log \
        ${docker_dir:+"$docker_dir"} </dev/null
    system_disk
    tables </dev/null
    fact ionet-survey-end "$nonce"
    # Bash writes each line by itself.
    if [ -n "${BASH_VERSION:-}" ]; then printf '%s' "$records" | cat; else printf '%s' "$records"; fi
}

# at_once PATH...: what is only read, one after the other.
at_once() {
    os_release
    machine
    tools
    processes
    ours
    configuration "$@"
}

survey() {
    nonce=$1 servers=$2 records='' is_beside=0
    shift 2
    # First of all: whoever takes the lock from now on changes it, and what is read of the host may be from before or after that.
    first_line "$root$our_dir/fence"
    fence=${got%%"$tab"*}
    beside 20 reaches containers systemd signatures nomad mining firewalls kernel_log driver fences | gather "$@"
}

# All of it is read before any of it runs: it comes on standard input, and a torn script must do nothing.
survey "$@" </dev/null
exit 0
