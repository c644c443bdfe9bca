# The survey's part on mining systems: which one it is, what its panel calls the host, and what will start a miner.
# Functions only, called by survey.sh. Before it comes $mining_systems, the table of the systems: in each line the name of
# a system (- for hosts without one), a kind, and one or two values.
# shellcheck shell=sh disable=SC2154

# The most of each kind, and of processes.
signs_max=16 process_signs_max=32

# mining: runs beside the rest, since reading the command line of a process that is stuck in a driver waits for ever.
mining() {
    find_system
    if [ "$system" != - ]; then rig; fi
    mining_lines
    mining_screens
    mining_processes
    fact looked mining
}

# find_system: $system becomes the first of which something lies here; the other names what the table has of it.
find_system() {
    system=- homes='' spared='' screens='' start_files='' cards='' vpn=''
    version_file=- version_key=- package=- identity=- id_key=- name_key=-
    IFS=$nl
    set -f
    for row in $mining_systems; do
        case $row in
        *"${tab}sign$tab"*)
            if [ -e "$root${row##*"$tab"}" ]; then system=${row%%"$tab"*} && break; fi
            ;;
        esac
    done
    for row in $mining_systems; do
        case $row in "$system$tab"*) ;; *) continue ;; esac
        IFS=$tab
        # shellcheck disable=SC2086 # the fields
        set -- $row
        case $2 in
        home) homes=$homes$3$nl ;;
        spared) spared=$spared$3$nl ;;
        screen) screens=$screens$3$nl ;;
        start_file) start_files=$start_files$3$nl ;;
        card) cards=$cards$3$nl ;;
        vpn_unit) vpn=$3 ;;
        version_package) package=$3 ;;
        version_file) version_file=$3 version_key=$4 ;;
        identity) identity=$3 name_key=$4 id_key=$5 ;;
        esac
    done
    set +f
    unset IFS
}

# rig: who it is to its panel. Of the file only the lines of these keys are looked at: others have passwords.
rig() {
    version=
    if [ "$package" != - ]; then
        version=$(PACKAGE=$package awk '
            /^Package: / { is_it = $2 == ENVIRON["PACKAGE"] }
            is_it && /^Version: / { print substr($2, 1, 100); exit }' "$root/var/lib/dpkg/status" 2>/dev/null || :)
    else
        assigned "$version_file" "$version_key"
        version=$got
    fi
    assigned "$identity" "$id_key"
    id=$got
    assigned "$identity" "$name_key"
    fact rig "$system" "$version" "$id" "$got"
    if [ -n "$vpn" ] && ! is_wanted "$vpn" && is_active "$vpn"; then fact rig.vpn 1; fi
}

# assigned FILE KEY: $got becomes what the file assigns to the key, as KEY=value or as KEY = "value";
assigned() {
    got=
    if [ "$2" = - ] || [ ! -f "$root$1" ] || [ ! -r "$root$1" ]; then return; fi
    got=$(KEY=$2 awk '
        { sub(/\r$/, ""); sub(/^[ \t]*(export[ \t]+)?/, "") }
        index($0, ENVIRON["KEY"]) == 1 {
            text = substr($0, length(ENVIRON["KEY"]) + 1)
            if (text !~ /^[ \t]*=/) next
            sub(/^[ \t]*=[ \t]*/, "", text)
            if (text ~ /^["\047]/) { mark = substr(text, 1, 1); text = substr(text, 2); sub(mark ".*", "", text) }
            else sub(/[ \t;#].*/, "", text)
            value = text
        }
        END { print substr(value, 1, 200) }' "$root$1" || :)
}

# sign KIND NAME: once, and not without end; $signs has those that were reported.
sign() {
    case $signs in *"$nl$1$tab$2$nl"*) return ;; esac
    if [ "$signs_left" = 0 ]; then return; fi
    signs_left=$((signs_left - 1))
    signs=$signs$1$tab$2$nl
    fact mining-sign "$1" "$2"
}

# new_kind: begins to count anew.
new_kind() {
    signs=$nl signs_left=$signs_max
}

# mining_lines: what the lines of crontabs, start files and units start, in one look at all of them.
mining_lines() {
    unit_files
    files=${files}kind=crontab$nl
    for file in "$root"/var/spool/cron/crontabs/* "$root"/var/spool/cron/* "$root"/etc/crontab "$root"/etc/cron.d/*; do
        files=$files$file$nl
    done
    files=${files}kind=start_file$nl
    rest=$start_files
    while [ -n "$rest" ]; do
        files=$files$root${rest%%"$nl"*}$nl
        rest=${rest#*"$nl"}
    done
    # shellcheck disable=SC2016 # for awk
    found=$(match '
        kind != "" {
            if (!((kind, FILENAME) in told) && (kind == "crontab" ? runs_mining($0, FILENAME) : starts_mining($0, directory_of(FILENAME)))) {
                told[kind, FILENAME] = 1
                print kind "\t" FILENAME
            }
            next
        }
        '"$units_awk")
    for kind in unit crontab start_file; do
        new_kind
        IFS=$nl
        set -f
        # shellcheck disable=SC2086 # lines
        set -- $found
        set +f
        unset IFS
        units=0
        for row in "$@"; do
            case $kind.$row in
            unit.*"$tab"*) ;;
            unit.*)
                units=$((units + 1))
                if [ "$units" -le 64 ]; then mining_unit "$row"; fi
                ;;
            "$kind.$kind$tab"*)
                row=${row#*"$tab"}
                sign "$kind" "${row#"$root"}"
                ;;
            esac
        done
    done
}

# mining_unit UNIT: its sign, where it is started at boot, by a timer or a socket, or runs now.
mining_unit() {
    case $1 in
    *@.*)
        for link in "$root"/etc/systemd/system/*/"${1%@.*}"@*."${1##*.}"; do
            if [ -L "$link" ]; then sign unit "${link##*/}"; fi
        done
        ;;
    *) if is_wanted "$1" || is_active "$1"; then sign unit "$1"; fi ;;
    esac
}

# is_wanted UNIT: whether a boot starts it.
is_wanted() {
    for link in "$root"/etc/systemd/system/*/"$1" "$root"/run/systemd/*/*/"$1" "$root"/usr/lib/systemd/system/*/"$1" \
        "$root"/lib/systemd/system/*/"$1"; do
        if [ -L "$link" ]; then return; fi
    done
    return 1
}

is_active() {
    ask 5 systemctl is-active "$1" || :
    case $said in active | activating | reloading) return 0 ;; *) return 1 ;; esac
}

mining_screens() {
    new_kind
    found=$(mining_sessions)
    while [ -n "$found" ]; do
        row=${found%%"$nl"*}
        case $found in *"$nl"*) found=${found#*"$nl"} ;; *) found= ;; esac
        sign screen "${row#*"$tab"}"
    done
}

# mining_processes: by their programs first; then by the scripts that interpreters run, whose command lines may make us wait.
mining_processes() {
    said=
    if [ -z "$homes" ] || ! cd "$root/proc" 2>/dev/null; then return; fi
    # Names of programs are in the links; ls reads all of them at once.
    # shellcheck disable=SC2012
    programs=$(ls -ln -- [0-9]*/exe 2>/dev/null | sed -n 's/.* \([0-9][0-9]*\)\/exe -> /\1 /p' || :)
    # shellcheck disable=SC2016 # for awk
    said=$(printf '%s\n' "$programs" | of_system '
        {
            path = $0
            sub(/^[0-9]+ /, "", path)
            sub(/ [(]deleted[)]$/, "", path)
            report(path)
        }')
    if [ -n "$said" ]; then printf '%s\n' "$said" | each_record; fi
    interpreters='^([a-z]*sh|busybox|sudo|(python|perl|node|nodejs|php|ruby|lua)[0-9.]*)$'
    # shellcheck disable=SC2016,SC2046 # names of files in /proc
    set -- $(printf '%s\n' "$programs" | KNOWN=$interpreters awk '
        { sub(/.*\//, "", $2) }
        $2 ~ ENVIRON["KNOWN"] { print $1 "/cmdline" }')
    if [ $# = 0 ]; then
        cd /
        return
    fi
    # shellcheck disable=SC2012,SC2016 # as above
    {
        ls -ln -- [0-9]*/cwd 2>/dev/null | sed -n 's/.* \([0-9][0-9]*\)\/cwd -> /cwd \1 /p' || :
        # Several files, so that each has a head.
        head -c 500 /dev/null "$@" 2>/dev/null | tr '\000' '\t' || :
    } | KNOWN=$interpreters of_system '
        /^cwd / { cwd[$2] = $3; next }
        /^==> [0-9]+\/cmdline <==$/ { pid = $2 + 0; next }
        pid == "" || $0 == "" { next }
        {
            words = split($0, word, "\t")
            seen = 0
            for (k = 1; k <= words && seen < 3; k++) {
                # What sudo runs by its bare name is found by PATH, not in the directory where it stands.
                if (word[k] == "" || (k > 1 && (word[k] ~ /^-/ || word[k] ~ ENVIRON["KNOWN"]))) continue
                seen++
                sub(/ .*/, "", word[k])
                if (k > 1 && word[k] !~ /^\//) word[k] = cwd[pid] "/" word[k]
                report(word[k])
            }
            pid = ""
        }' | each_record
    cd /
}

# each_record: passes records on one by one, since what parts that run beside each other write mixes where it is long.
each_record() {
    while IFS= read -r line; do record "$line"; done
}

# of_system PROGRAM: an awk program over standard input that reports the paths of the system's programs and card feeders; $said
# has what was reported before.
of_system() {
    HOMES=$homes SPARED=$spared MINERS=$miner_names CARDS=$cards SAID=$said awk -v left="$process_signs_max" "$mining_awk"'
        BEGIN {
            cards = split(ENVIRON["CARDS"], card, "\n")
            for (i = split(ENVIRON["SAID"], before, "\n"); i > 0; i--) { said[before[i]] = 1; if (before[i] ~ /^m/) left-- }
        }
        function report(path,    i, end, line) {
            gsub(/\t/, " ", path)
            for (i = 1; i <= cards; i++) {
                end = length(path) - length(card[i])
                line = "watchdog-card\t" card[i]
                if (card[i] != "" && end > 0 && substr(path, end) == "/" card[i] && !said[line]++) print line
            }
            line = "mining-sign\tprocess\t" substr(base_name(path), 1, 200)
            if (is_mining_path(path) && !(line in said) && left-- > 0) { said[line] = 1; print line }
        }'"$1" || :
}
