# What a host is and has, in the words of docs/host-protocol.md. It reads and never writes, and ends with 0.
#
#   sh -s -- NONCE SERVERS PATH...    SERVERS as host:port,… (or -); the PATHs are those that a bundle manages
#
# Paths stand below $IONET_ROOT, which is empty on a real host; only processes and mounts are always the kernel's own.
set -eu
umask 077
export LC_ALL=C
PATH=${PATH:+$PATH:}/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
root=${IONET_ROOT:-}
config_dir=/etc/nomad.d
data_dir=/opt/nomad/data
our_dir=/var/lib/ionet
unit=nomad.service
tab=$(printf '\t')
nl='
'

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

has() {
    command -v "$1" >/dev/null 2>&1
}

# within SECONDS COMMAND...: the command, ended when it takes longer.
within() {
    seconds=$1
    shift
    if has timeout; then set -- timeout -k 2 "$seconds" "$@"; fi
    "$@" </dev/null
}

# bounded SECONDS COMMAND...: its output and a line "exit STATUS". A child that is stuck in the kernel heeds no signal
# (nvidia-smi, when a GPU has fallen off its bus): it is left behind rather than waited for.
bounded() {
    {
        # By exec, since a redirected block keeps the old standard error open, and with it the connection.
        exec 2>/dev/null
        sleep "$(($1 + 3))" >/dev/null &
        timer=$!
        echo "$timer"
        {
            status=0
            within "$@" 2>&1 || status=$?
            printf '\nexit %s\n' "$status"
        } &
        wait "$timer" || :
        printf '\nexit 124\n'
    } | {
        read -r timer
        while IFS= read -r line; do
            printf '%s\n' "$line"
            case $line in 'exit '*) break ;; esac
        done
        kill "$timer" 2>/dev/null || :
    }
}

os_release() {
    id='' version='' name=''
    file=$root/etc/os-release
    if [ ! -r "$file" ]; then file=$root/usr/lib/os-release; fi
    if [ ! -r "$file" ]; then return; fi
    while IFS='=' read -r key value; do
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

machine() {
    kernel_arch=$(uname -rm)
    known kernel "${kernel_arch% *}"
    known arch "${kernel_arch##* }"
    first_line "$root/proc/1/comm"
    known init "$got"
    fact uid "$(id -u)"
    fact time "$(date +%s)"
    first_line "$root/etc/machine-id"
    known machine-id "$got"
    first_line "$root/proc/sys/kernel/random/boot_id"
    boot=$got
    known boot-id "$boot"
    if [ -r "$root/proc/cpuinfo" ]; then
        known cpu.cores "$(grep -c '^processor' "$root/proc/cpuinfo")"
    fi
    first_line "$root/proc/meminfo"
    got=${got%" kB"}
    known memory.kib "${got##* }"
}

# nearest PATH: $got becomes the nearest directory at or above it.
nearest() {
    got=$root$1
    while [ -n "$got" ] && [ ! -d "$got" ]; do got=${got%/*}; done
    got=${got:-/}
}

disks() {
    set --
    for place in /opt/nomad "$config_dir" "$our_dir" /usr/local/bin; do
        nearest "$place"
        set -- "$@" "$got"
    done
    if ! table=$(within 10 df -Pk "$@"); then return; fi
    rows=${table#*"$nl"}$nl
    for place in /opt/nomad "$config_dir" "$our_dir" /usr/local/bin; do
        disk "$place" "${rows%%"$nl"*}"
        rows=${rows#*"$nl"}
    done
}

# disk PLACE ROW: ROW is a line of df -P.
disk() {
    place=$1
    # shellcheck disable=SC2086 # the row's columns
    set -- $2
    available=${4:-}
    shift 5 || return 0
    case $available in '' | *[!0-9]*) return ;; esac
    mount_at "$*"
    fact disk "$place" "$((available / 1024))" "$kind" "$options"
}

# mount_at POINT: $kind and $options of what is mounted there, of the topmost where there are several. Read line by
# line: matching one long text is quadratic under dash, and a host of many containers has many mounts.
mount_at() {
    kind=unknown options=unknown
    [ -r /proc/mounts ] || return 0
    while read -r _ at its_kind its_options _; do
        if [ "$at" = "$1" ]; then kind=$its_kind options=$its_options; fi
    done </proc/mounts
}

tools() {
    for tool in tar gzip sha256sum systemctl timeout docker nvidia-smi; do
        if has "$tool"; then fact tool "$tool"; fi
    done
}

# gpus_on_bus: $count becomes the number of NVIDIA display devices that the kernel sees, empty where it cannot say.
gpus_on_bus() {
    count=
    if [ ! -d "$root/sys/bus/pci/devices" ]; then return; fi
    count=0
    for device in "$root"/sys/bus/pci/devices/*; do
        first_line "$device/vendor"
        if [ "$got" != 0x10de ]; then continue; fi
        first_line "$device/class"
        case $got in 0x03*) count=$((count + 1)) ;; esac
    done
}

# gpu_row ROW: a gpu record where ROW is one of nvidia-smi's; $reason otherwise keeps what it said.
gpu_row() {
    index=${1%%, *}
    case $index in
    '' | *[!0-9]*)
        reason=${reason:-$1}
        return
        ;;
    esac
    row=${1#*, }
    bus=${row##*, }
    row=${row%, *}
    memory=${row##*, }
    row=${row%, *}
    case $memory in *[!0-9]*) memory= ;; esac
    fact gpu "$index" "${row%, *}" "${row##*, }" "$memory" "$bus"
    seen=$((seen + 1))
}

gpus() {
    gpus_on_bus
    if ! has nvidia-smi; then
        case $count in
        0) fact gpu.source sysfs ;;
        '') fact gpu.source 'none: there is no nvidia-smi' ;;
        *) fact gpu.source "none: there is no nvidia-smi, but $count NVIDIA devices on the PCI bus" ;;
        esac
        return
    fi
    rows=$(bounded 10 nvidia-smi --query-gpu=index,name,uuid,memory.total,pci.bus_id --format=csv,noheader,nounits)
    status=${rows##*"${nl}exit "}
    rows=${rows%"${nl}exit "*}$nl
    reason='' seen=0
    while [ -n "$rows" ]; do
        gpu_row "${rows%%"$nl"*}"
        rows=${rows#*"$nl"}
    done
    case $status.$seen.$count in
    0.*) fact gpu.source nvidia-smi ;;
    *.0.0) fact gpu.source sysfs ;;
    124.0.* | 137.0.*) fact gpu.source 'none: nvidia-smi hangs' ;;
    *.0.*) fact gpu.source "none: nvidia-smi ended with $status: $reason" ;;
    *) fact gpu.source "nvidia-smi, which ended with $status: $reason" ;;
    esac
}

# agents: $count becomes the number of processes that run a Nomad agent, whoever started them.
agents() {
    count=0
    for process in "$root"/proc/[0-9]*; do
        first_line "$process/comm"
        case $got in nomad*) ;; *) continue ;; esac
        case $(tr '\000' ' ' <"$process/cmdline" 2>/dev/null) in
        *' agent '*) count=$((count + 1)) ;;
        esac
    done
}

# nomad_program: $program becomes the executable that the unit starts, or else the one that an admin would.
nomad_program() {
    program=
    for file in "$root/etc/systemd/system/$unit" "$root/usr/lib/systemd/system/$unit" "$root/lib/systemd/system/$unit"; do
        if [ -n "$program" ] || [ ! -r "$file" ]; then continue; fi
        while IFS='=' read -r key value; do
            if [ "$key" = ExecStart ]; then program=${value%% *}; fi
        done <"$file"
    done
    while :; do
        case $program in [-@:+!]*) program=${program#?} ;; *) break ;; esac
    done
    if [ -n "$program" ]; then
        program=$root$program
    elif [ -x "$root/usr/local/bin/nomad" ]; then
        program=$root/usr/local/bin/nomad
    elif [ -z "$root" ]; then
        program=$(command -v nomad) || program=
    fi
}

nomad() {
    if has systemctl; then
        known nomad.active "$(within 10 systemctl is-active "$unit" 2>/dev/null || :)"
        known nomad.enabled "$(within 10 systemctl is-enabled "$unit" 2>/dev/null || :)"
    fi
    agents
    fact nomad.process "$count"
    nomad_program
    if [ -x "$program" ] && version=$(within 10 "$program" version 2>/dev/null); then
        known nomad.version "${version%%"$nl"*}"
    fi
    first_line "$root$data_dir/client/client-id"
    known nomad.client-id "$got"
    if [ -r "$root$config_dir/nomad.hcl" ]; then
        known nomad.stamp "$(sed -n 's/^[[:space:]]*"\{0,1\}ionet_bundle"\{0,1\}[[:space:]]*=[[:space:]]*"\([^"]*\)".*/\1/p' \
            "$root$config_dir/nomad.hcl")"
    fi
    if [ -e "$root$data_dir/client/intro_token.jwt" ]; then fact nomad.token 1; fi
    count=0
    for directory in "$root$data_dir"/alloc/*; do
        if [ -d "$directory" ]; then count=$((count + 1)); fi
    done
    fact nomad.allocations "$count"
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

survey() {
    nonce=$1
    shift 2
    fact ionet-survey 1 "$nonce"
    os_release
    machine
    disks
    tools
    nomad
    ours
    configuration "$@"
    gpus
    fact ionet-survey-end "$nonce"
}

# All of it is read before any of it runs: it comes on standard input, and a torn script must do nothing.
survey "$@" </dev/null
exit 0
