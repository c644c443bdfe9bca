# What a host's GPUs are, in the format of docs/explanation/gpu-probe.md: "probe NONCE" reads and never writes, and takes what python3 is to
# run, in base64, from standard input. After a survey it is called by then_probe.sh, and otherwise by probe_start.sh:
#
#   sh -c "$(cat probe_start.sh)" ionet-probe NONCE <PROGRAM    PROGRAM is this file, the line probe "$@", and what python3 is to run
#
# Paths stand below $IONET_ROOT, which is empty on a real host. programs.sh travels before it.
# shellcheck disable=SC2034 # grace_s
set -eu
umask 077
export LC_ALL=C
root=${IONET_ROOT:-}
for directory in /usr/local/sbin /usr/local/bin /usr/sbin /usr/bin /sbin /bin; do
    PATH=${PATH:+$PATH:}$root$directory
done
# nvidia-smi initialises all cards before it prints anything.
smi_s=$((${IONET_PROBE_DEADLINE_S:-10} * 3))
tab=$(printf '\t')
nl='
'
grace_s=2
# What python3 makes of standard input: the modules that the probe uses, and the probe.
#
# What the library takes of three modules, which are long to load, is put in their place while it is read.
start='
import binascii, ctypes, _thread, types, sys, zlib
def wraps(wrapped):
    def named(wrapper):
        wrapper.__name__ = wrapped.__name__
        return wrapper
    return named
def capwords(text, mark):
    return mark.join(word.capitalize() for word in text.split(mark))
short = {"functools": {"wraps": wraps}, "threading": {"Lock": _thread.allocate_lock}, "string": {"capwords": capwords}}
library, probe = zlib.decompress(binascii.a2b_base64(sys.stdin.buffer.read())).decode().split("\0")
pynvml = sys.modules["pynvml"] = types.ModuleType("pynvml")
loaded = dict(sys.modules)
for name in short:
    if name not in loaded:
        sys.modules[name] = types.SimpleNamespace(**short[name])
exec(library, pynvml.__dict__)
for name in set(short) - set(loaded):
    del sys.modules[name]
exec(probe, {"__name__": "__main__"})
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
    printf '%.2000s\n' "$line"
}

# bounded COMMAND...: its output and a line "exit STATUS". A child that is stuck in the kernel cannot be
# ended by a signal: it is left behind rather than waited for.
bounded() {
    {
        # By exec, since a redirected block keeps the old standard error open, and with it the connection.
        exec 2>/dev/null
        sleep "$((smi_s + 3))" >/dev/null &
        timer=$!
        echo "$timer"
        {
            status=0
            within "$smi_s" "$@" </dev/null 2>&1 || status=$?
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

# nvml: what NVML reports, where there is a Python to ask it; $why becomes the reason where there is none.
nvml() {
    for python in python3 "$root/usr/libexec/platform-python" ''; do
        if [ -n "$python" ] && has "$python"; then break; fi
    done
    if [ -z "$python" ]; then
        why='no python3'
        cat >/dev/null
        return 1
    fi
    # Isolated from what lies around, and without bytecode: a probe changes nothing on the host.
    # Its record counts only where it ended well: there is one result.
    status=0
    { said=$("$python" -ISB -c "$start" 2>&1) || status=$?; } 2>/dev/null
    said=$(printf '%s\n' "$said" | tail -n 1)
    case $status.$said in
    0.*)
        printf '%s\n' "$said"
        return 0
        ;;
    3.*) why=$said ;;
    *."nvml$tab"* | *."hanging$tab"*) why="python3 ended with $status" ;;
    *) why="python3 ended with $status: $said" ;;
    esac
    cat >/dev/null
    return 1
}

# devices_on_bus: $count becomes the number of NVIDIA display devices that the kernel sees, empty where it is unknown.
devices_on_bus() {
    count=
    if [ ! -d "$root/sys/bus/pci/devices" ]; then return; fi
    count=0
    for device in "$root"/sys/bus/pci/devices/*; do
        vendor='' class=''
        { read -r vendor <"$device/vendor" && read -r class <"$device/class"; } 2>/dev/null || continue
        case $vendor$class in 0x10de0x03*) count=$((count + 1)) ;; esac
    done
}

# gpu_row ROW: a gpu record where ROW is one of nvidia-smi's; $message otherwise becomes its text. What a lost card does
# not answer stands in brackets, in whatever words: it is left empty.
gpu_row() {
    index=${1%%, *}
    case $index in
    '' | *[!0-9]*)
        message=${message:-$1}
        return
        ;;
    esac
    row=${1#*, }
    bus=${row##*, }
    row=${row%, *}
    memory=${row##*, }
    row=${row%, *}
    uuid=${row##*, } name=${row%, *}
    case $name in '['*) name= ;; esac
    case $uuid in GPU-?*) ;; *) uuid= ;; esac
    case $memory in *[!0-9]*) memory= ;; esac
    case $bus in *[!0-9A-Fa-f:.]*) bus= ;; esac
    fact gpu "$index" "$name" "$uuid" "$memory" "$bus"
    seen=$((seen + 1))
}

# nvidia_smi: what nvidia-smi lists, for those of whom NVML could not be asked.
nvidia_smi() {
    devices_on_bus
    if ! has nvidia-smi; then
        case $count in
        0) fact empty ;;
        '') fact unknown "$why, and no nvidia-smi" ;;
        *) fact unknown "$why, and no nvidia-smi, but NVIDIA devices on the PCI bus: $count" ;;
        esac
        return
    fi
    rows=$(bounded nvidia-smi --query-gpu=index,name,uuid,memory.total,pci.bus_id --format=csv,noheader,nounits)
    status=${rows##*"${nl}exit "}
    rows=${rows%"${nl}exit "*}$nl
    # Ended early, it may lack cards.
    if [ "$status" = 124 ]; then rows=; fi
    message='' seen=0
    while [ -n "$rows" ]; do
        gpu_row "${rows%%"$nl"*}"
        rows=${rows#*"$nl"}
    done
    case $status.$seen.$count in
    0.*) fact source "nvidia-smi ($why)" ;;
    *.0.0) fact empty ;;
    124.*) fact hanging nvidia-smi ;;
    *.0.*) fact unknown "$why, and nvidia-smi ended with $status: $message" ;;
    *) fact source "nvidia-smi ($why), which ended with $status: $message" ;;
    esac
}

probe() {
    fact ionet-probe 1 "$1"
    if ! nvml; then nvidia_smi; fi
    fact ionet-probe-end "$1"
}
