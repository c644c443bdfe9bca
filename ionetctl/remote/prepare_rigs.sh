# Preparing: what a mining system did besides mining is given a home of its own, and its settings of the GPUs are undone.
# Functions only, called by prepare.sh, which sets the paths and how to fail.
# shellcheck shell=sh disable=SC2016,SC2034,SC2154

let_live_on() {
    if [ -n "$cards" ]; then
        # Programs that go on by themselves are kept by the unit as well as those that stay.
        commands=$(printf '%s' "$cards" | sed "s/^[^$tab]*$tab//; s/\$/ \&/" | tr '\n' ' ')
        own_path=$(home_path)
        own_unit ionet-watchdog.service "[Unit]
Description=Feed the watchdog card that resets this board
[Service]
Environment='PATH=$own_path'
ExecStart=-/bin/sh -c '${commands}wait'
RemainAfterExit=yes
[Install]
WantedBy=multi-user.target"
    fi
    if [ "$loads_modules" = yes ]; then
        loader=$(command -v modprobe) || fail prepare_failed 'there is no modprobe'
        # An entry of modules-load.d would not do: blacklists count there.
        own_unit ionet-gpu-modules.service "[Unit]
Description=Load the NVIDIA driver
Before=nomad.service docker.service
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=-$loader nvidia
ExecStart=-$loader nvidia_uvm
[Install]
WantedBy=multi-user.target"
    fi
    if [ -n "$vpn_unit" ] && ! is_enabled "$vpn_unit"; then
        remember "enabled$tab$vpn_unit"
        unit enable "$vpn_unit"
        changed "enabled $vpn_unit, which the mining system started"
    fi
}

# own_unit UNIT TEXT: a unit of ours, now and at every boot.
own_unit() {
    remember "own$tab$1"
    wanted="# By ionetctl; restore-miner removes it.$nl$2"
    if [ "$(cat "$root/etc/systemd/system/$1" 2>/dev/null)" != "$wanted" ]; then
        try prepare_failed write_text "$wanted" "$root/etc/systemd/system/$1"
        unit daemon-reload
        changed "wrote $1"
    fi
    run_unit "$1"
}

# expect_fed_cards: without its feeder a card resets the board within minutes.
expect_fed_cards() {
    rest=$cards
    while [ -n "$rest" ]; do
        card=${rest%%"$nl"*}
        rest=${rest#*"$nl"}
        waited=0
        until is_fed "${card%%"$tab"*}"; do
            if [ "$waited" -ge "$settle_s" ]; then
                fail prepare_failed "nothing feeds the watchdog card, which will reset the board: run ${card#*"$tab"} by hand"
            fi
            sleep 1
            waited=$((waited + 1))
            see_processes
        done
    done
}

# is_fed PROCESS: whether one that was last seen is that program, or interprets it.
is_fed() {
    { sed 's/.* -> //' "$stage/links" && tr '\t' '\n' <"$stage/commands"; } 2>/dev/null | grep -qx ".*/$1"
}

# --- settings of the GPUs ---

# reset_by_x: what only an X server's extension could set; while it still runs.
reset_by_x() {
    if [ -z "$overclocks" ] || ! has nvidia-settings || [ ! -e "$root/tmp/.X11-unix/X0" ]; then return; fi
    set_by_x 'fans back to automatic' -a GPUFanControlState=0
    if [ "$overclocks" = keep ]; then return; fi
    set_by_x 'clock offsets back to none' -a GPUGraphicsClockOffsetAllPerformanceLevels=0 \
        -a GPUMemoryTransferRateOffsetAllPerformanceLevels=0
}

# set_by_x WHAT OPTION...
set_by_x() {
    what=$1
    shift
    if within 60 nvidia-settings -c :0 "$@" >/dev/null 2>&1; then changed "set $what (nvidia-settings)"; fi
}

reset_by_driver() {
    if [ -z "$overclocks" ] || ! has nvidia-smi; then return; fi
    if has python3; then
        # Below another root the machine's own GPUs are not ours.
        library=${root:+$root/usr/lib/}libnvidia-ml.so.1
        printf '%s\n' "$nvml_reset" >"$stage/reset.py"
        report_resets "$(within 60 python3 "$stage/reset.py" "$overclocks" "$library" 2>/dev/null || :)"
    else
        changed 'could not set fans back to automatic: there is no python3'
    fi
    if [ "$overclocks" = keep ]; then return; fi
    reset='power limits back to default'
    if reset_power; then changed "set $reset"; else changed "could not set $reset"; fi
    # Not every GPU has these.
    for option in -rgc -rmc -rac; do within 30 nvidia-smi "$option" >/dev/null 2>&1 || :; done
}

# report_resets LINES: those of the program below.
report_resets() {
    if [ -z "$1" ]; then
        changed 'could not set fans back to automatic: NVML does not answer'
        return
    fi
    printf '%s\n' "$1" >"$stage/resets"
    while IFS= read -r line; do changed "$line"; done <"$stage/resets"
}

reset_power() {
    limits=$(within 30 nvidia-smi --query-gpu=index,power.limit,power.default_limit --format=csv,noheader,nounits 2>/dev/null) ||
        return 1
    printf '%s\n' "$limits" | sed 's/ //g' >"$stage/limits"
    status=0
    while IFS=, read -r gpu limit default; do
        case $default in *[!0-9.]* | '' | "$limit") continue ;; esac
        within 30 nvidia-smi -i "$gpu" -pl "$default" >/dev/null 2>&1 || status=1
    done <"$stage/limits"
    return "$status"
}

# Asks NVML for what nvidia-smi has no option for. The functions are those of nvml.h; 3 is "not supported" by a GPU.
nvml_reset='
import ctypes, sys
nvml = ctypes.CDLL(sys.argv[2])
if nvml.nvmlInit_v2():
    sys.exit(1)
results = {}
def call(what, name, *arguments):
    function = getattr(nvml, name, None)
    results.setdefault(what, []).append(3 if function is None else function(*arguments))
count = ctypes.c_uint()
nvml.nvmlDeviceGetCount_v2(ctypes.byref(count))
for index in range(count.value):
    gpu, fans = ctypes.c_void_p(), ctypes.c_uint()
    if nvml.nvmlDeviceGetHandleByIndex_v2(index, ctypes.byref(gpu)):
        continue
    if hasattr(nvml, "nvmlDeviceGetNumFans"):
        nvml.nvmlDeviceGetNumFans(gpu, ctypes.byref(fans))
    for fan in range(fans.value):
        call("fans back to automatic", "nvmlDeviceSetDefaultFanSpeed_v2", gpu, fan)
    if sys.argv[1] == "reset":
        call("clock offsets back to none", "nvmlDeviceSetGpcClkVfOffset", gpu, 0)
        call("clock offsets back to none", "nvmlDeviceSetMemClkVfOffset", gpu, 0)
for what, codes in results.items():
    failed = [code for code in codes if code not in (0, 3)]
    if failed:
        print("could not set", what + ": NVML error", failed[0])
    elif 0 in codes:
        print("set", what)
    else:
        print("could not set", what + ": the driver cannot")
'
