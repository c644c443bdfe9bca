# The survey's part on what a host works for already: Nomad, miners, io.net's own workers. Miners' names are in
# mining_lines.sh.
# Functions only, called by survey.sh, which sets root, tab and nl.
# shellcheck shell=sh disable=SC2154

worker_names='io-worker-.*|io-launch.*|io_net_launch_.*|launch_binary_l|ionet[-_].*'

# processes: one look at all of them, whatever started them. Their command lines are read only where the name fits: that
# waits for locks, which a process that is stuck in a driver may hold for ever.
processes() {
    if ! cd "$root/proc" 2>/dev/null; then return; fi
    agents=0 reported=0 status=0
    rows=$(grep -HsxE "nomad.*|$miner_names|$worker_names" [0-9]*/comm) || status=$?
    # 2: one of them has ended meanwhile.
    if [ "$status" -le 2 ]; then
        called_nomad=
        while [ -n "$rows" ]; do
            row=${rows%%"$nl"*}
            case $rows in *"$nl"*) rows=${rows#*"$nl"} ;; *) rows= ;; esac
            pid=${row%%/comm:*} name=${row#*:}
            case $name in
            '') ;;
            nomad*) called_nomad="$called_nomad $pid/cmdline" ;;
            io-* | io_* | ionet* | launch_*) workload ionet "$pid" ;;
            *) workload miner "$pid" ;;
            esac
        done
        # shellcheck disable=SC2086 # names of files in /proc
        if [ -n "$called_nomad" ]; then agents $called_nomad; fi
        fact nomad.process "$agents"
        fact looked miners
        fact looked ionet
    fi
    cd /
}

# agents FILE...: counts those that are command lines of one: its helpers (logmon, executor) have its name too.
agents() {
    # Several files, so that each has a head.
    said=$(head -c 4096 /dev/null "$@" 2>/dev/null | tr '\000\n' ' \t')
    IFS=$tab
    set -f
    for line in $said; do
        case $line in *' agent '*) agents=$((agents + 1)) ;; esac
    done
    set +f
    unset IFS
}

# workload KIND PID: its record, with the system's unit that it runs in. A unit of a user's own manager is not reported:
# the system's manager does not know it by that name.
workload() {
    if [ "$reported" -ge 64 ]; then return; fi
    reported=$((reported + 1))
    unit_name=
    # By now it may be gone.
    {
        while IFS= read -r line; do
            case $line in
            */user@*) ;;
            */*.service*)
                unit_name=${line%.service*}
                unit_name=${unit_name##*/}.service
                ;;
            esac
        done <"$2/cgroup"
    } 2>/dev/null || :
    fact "$1" "$name" "$2" "$unit_name"
}

# ionet_containers: by their images, since their names are made up anew each time, and their processes have any name.
ionet_containers() {
    reported=0
    ask 5 docker ps --format '{{.Image}}' || :
    IFS=$nl
    set -f
    for image in $said; do
        name=${image##*/}
        name=${name%%[:@]*}
        case $image.$name in
        ionet*/*.* | *.io-worker-* | *.io-launch*) ;;
        *) continue ;;
        esac
        if [ "$reported" -ge 32 ]; then break; fi
        reported=$((reported + 1))
        fact ionet "$name" '' ''
    done
    set +f
    unset IFS
}

# nomad_program: $program becomes the executable that the unit starts, or else the one that an admin would.
nomad_program() {
    program=
    for file in "$root/etc/systemd/system/$unit" "$root/usr/lib/systemd/system/$unit" "$root/lib/systemd/system/$unit"; do
        if [ -n "$program" ] || [ ! -r "$file" ]; then continue; fi
        while IFS='=' read -r key value || [ -n "$key" ]; do
            if [ "$key" != ExecStart ]; then continue; fi
            # Ours has a script before it.
            case $value in
            */start_agent.sh\ *) value=${value#*/start_agent.sh } ;;
            esac
            program=${value%% *}
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
        ask 10 systemctl is-active "$unit" || :
        known nomad.active "$said"
        ask 10 systemctl is-enabled "$unit" || :
        known nomad.enabled "$said"
    fi
    nomad_program
    if [ -x "$program" ] && ask 10 "$program" version; then
        known nomad.version "${said%%"$nl"*}"
    fi
    first_line "$root$data_dir/client/client-id"
    known nomad.client-id "$got"
    nomad_configuration
    if [ -e "$root$data_dir/client/intro_token.jwt" ]; then fact nomad.token 1; fi
    count=0
    for directory in "$root$data_dir"/alloc/*; do
        if [ -d "$directory" ]; then count=$((count + 1)); fi
    done
    fact nomad.allocations "$count"
}

# nomad_configuration: our stamp, the drivers that jobs may use, and the region that stands outside of every block (inside of one the keyword means something
# else). Of several files the last one counts, as for the agent.
nomad_configuration() {
    set --
    for file in "$root$config_dir"/*.hcl; do
        if [ -f "$file" ] && [ -r "$file" ]; then set -- "$@" "$file"; fi
    done
    if [ $# = 0 ]; then return; fi
    said=$(OURS=$root$config_dir/nomad.hcl awk '
        FNR == 1 { depth = 0 }
        FILENAME == ENVIRON["OURS"] && /^[ \t]*"?unique.ionet_bundle"?[ \t]*=[ \t]*"[^"]*"/ {
            text = $0
            sub(/^[^=]*=[ \t]*"/, "", text)
            sub(/".*/, "", text)
            stamp = stamp text " "
        }
        FILENAME == ENVIRON["OURS"] && /^[ \t]*"driver.allowlist"[ \t]*=[ \t]*"[^"]*"/ {
            drivers = $0
            sub(/^[^=]*=[ \t]*"/, "", drivers)
            sub(/".*/, "", drivers)
            gsub(/,/, " ", drivers)
        }
        { sub(/^[ \t]*(#|\/\/).*/, "") }
        depth == 0 && /^[ \t]*"?region"?[ \t]*=[ \t]*"[^"]*"/ {
            region = $0
            sub(/^[^=]*=[ \t]*"/, "", region)
            sub(/".*/, "", region)
        }
        { gsub(/"[^"]*"/, ""); depth += gsub(/\{/, "") - gsub(/\}/, "") }
        END { print stamp; print substr(drivers, 1, 200); print substr(region, 1, 200) }' "$@" || :)
    stamp=${said%%"$nl"*}
    known nomad.stamp "${stamp% }"
    case $said in *"$nl"*"$nl"*) ;; *) return ;; esac
    said=${said#*"$nl"}
    known nomad.drivers "${said%%"$nl"*}"
    known nomad.region "${said#*"$nl"}"
}
