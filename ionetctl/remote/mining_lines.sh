# What starts a miner: what the lines of crontabs, start files and units say, and which screens there are. For survey and
# preparations, so that what one finds the other takes out. Functions and texts only; the script sets root, tab, nl, and of the
# mining system homes, spared and screens, a value in each line.
# shellcheck shell=sh disable=SC2034,SC2154

# The names by which the kernel knows miners: at most 15 characters of the program's own.
miner_names='t-rex|trex|[lL]ol[mM]iner|nbminer|gminer|miner|[pP]hoenix[mM]iner|[tT]eam[rR]ed[mM]iner|[bB]z[mM]iner|rigel'
miner_names="$miner_names|(SRBMiner|srbminer|wildrig|claymore|ccminer|cpuminer|xmrig|xmr-stak|aleominer|tnn-miner|rqiner).*"
miner_names="$miner_names|onezerominer|ethminer|ethdcrminer64|kawpowminer|progpowminer|miniZ|nanominer|excavator|minerd"
miner_names="$miner_names|z-enemy|[cC]rypto[dD]redge|[bcs]gminer|bfgminer|bminer|astrominer|hellminer|qli-(Client|runner)|hiveon"

# The beginning of an awk program. In its environment: HOMES and SPARED, a path in each line, and MINERS, an expression.
mining_awk='
    BEGIN {
        homes = split(ENVIRON["HOMES"], home, "\n")
        spares = split(ENVIRON["SPARED"], spare, "\n")
        miner = "^(" ENVIRON["MINERS"] ")$"
        starter = "^(sudo|nohup|nice|ionice|chrt|taskset|timeout|setsid|stdbuf|env|exec|screen|tmux|start-stop-daemon)$"
        shell_word = "^(if|then|else|elif|do|while|until|!|[{]|[A-Za-z_][A-Za-z_0-9]*=.*)$"
    }

    # Whether a path leads into a system for mining, and to a part of it that mines.
    function is_mining_path(path,    i) {
        path = path "/"
        for (i = 1; i <= spares; i++) if (spare[i] != "" && index(path, spare[i])) return 0
        for (i = 1; i <= homes; i++) if (home[i] != "" && index(path, home[i]) == 1) return 1
        return 0
    }

    function base_name(path) {
        sub(/.*\//, "", path)
        return path
    }

    # The directory from which a table or start file runs: the home of the user that it belongs to.
    function directory_of(file) {
        if (match(file, /\/home\/[^\/]+/)) return substr(file, RSTART, RLENGTH)
        if (file ~ /\/var\/spool\/cron\// && base_name(file) != "root") return "/home/" base_name(file)
        return "/root"
    }

    # Whether a line of a shell starts a miner, or something of the system that the homes belong to.
    function starts_mining(line, directory,    commands, command, words, word, i, k, is_first, is_started) {
        if (line ~ /^[ \t]*(#|alias[ \t])/) return 0
        commands = split(line, command, /[;&|()`"\047]+/)
        for (i = 1; i <= commands; i++) {
            words = split(command[i], word, /[ \t]+/)
            is_first = 1
            is_started = 0
            for (k = 1; k <= words; k++) {
                if (word[k] == "" || word[k] ~ shell_word) continue
                if (word[k] ~ /^(-u|-g|--user|--group)$/) { k++; continue }
                sub(/^(~|[.]|[$]HOME|[$][{]HOME[}])\//, directory "/", word[k])
                if (is_mining_path(word[k])) return 1
                # As an argument a name may be anything, a user or a directory, unless this command starts another.
                if ((is_first || is_started) && substr(base_name(word[k]), 1, 15) ~ miner) return 1
                if (is_first) is_started = base_name(word[k]) ~ starter || base_name(word[k]) ~ /^(ba|da|z|k|)sh$/
                is_first = 0
            }
        }
        return 0
    }

    # Whether a line of a crontab does; the tables of the system have a column for the user.
    function runs_mining(line, file,    columns) {
        if (line ~ /^[ \t]*(#|[A-Za-z_]+[ \t]*=)/) return 0
        sub(/^[ \t]+/, "", line)
        columns = line ~ /^@/ ? 1 : 5
        if (file ~ /\/etc\/(cron[.]d\/|crontab$)/) columns++
        while (columns-- > 0) sub(/^[^ \t]+[ \t]*/, "", line)
        return starts_mining(line, directory_of(file))
    }
'

# match PROGRAM: what the program for awk, which may call the functions of mining_awk, prints of $files, a path in each line; a
# line like kind=NAME sets that variable of it for the files that follow.
match() {
    program=$1 readable=
    IFS=$nl
    set -f
    for file in $files; do
        case $file in kind=*) readable=$readable$file$nl && continue ;; esac
        if [ -f "$file" ] && [ -r "$file" ]; then readable=$readable$file$nl; fi
    done
    # shellcheck disable=SC2086 # lines
    set -- $readable
    set +f
    unset IFS
    case $readable in */*) ;; *) return ;; esac
    HOMES=$homes SPARED=$spared MINERS=$miner_names awk "$mining_awk $program" "$@" || :
}

# units_that_mine: what starts such a service by a timer, path or socket, and the services whose commands start a miner.
units_that_mine() {
    unit_files
    match "$units_awk"
}

# unit_files: $files becomes those of all units that count.
unit_files() {
    masked=' ' files=
    for place in etc run usr/local/lib usr/lib lib; do
        # Of two that are one, one will do.
        if [ -L "$root/$place" ]; then continue; fi
        for file in "$root/$place/systemd/system"/*.service "$root/$place/systemd/system"/*.service.d/*.conf \
            "$root/$place/systemd/system"/*.timer "$root/$place/systemd/system"/*.path "$root/$place/systemd/system"/*.socket; do
            case $masked in *" ${file##*/} "*) continue ;; esac
            # An empty file, or a link to /dev/null, hides those of the same name in the places that follow.
            if [ -s "$file" ]; then files=$files$file$nl; elif [ -e "$file" ]; then masked="$masked${file##*/} "; fi
        done
    done
}

# shellcheck disable=SC2016 # for awk
units_awk='
    FNR == 1 {
        unit = base_name(FILENAME)
        is_hidden = 0
        if (unit ~ /[.]conf$/) { unit = FILENAME; sub(/[.]d\/[^\/]*$/, "", unit); unit = base_name(unit) }
        else { is_hidden = unit in known; known[unit] = 1 }
        line = ""
    }
    is_hidden { next }
    unit !~ /[.]service$/ {
        if (!(unit in starts)) { starts[unit] = unit; sub(/[.][a-z]+$/, ".service", starts[unit]) }
        if (/^(Unit|Service)=/) { starts[unit] = $0; sub(/^[A-Za-z]+=/, "", starts[unit]) }
        next
    }
    /\\$/ { line = line substr($0, 1, length($0) - 1); next }
    {
        line = line $0
        if (sub(/^ExecStart(Pre|Post)?=[-@:+!]*/, "", line) && starts_mining(line, "/")) mines[unit] = 1
        line = ""
    }
    END {
        for (unit in starts) if (starts[unit] in mines) print unit
        for (unit in mines) print unit
    }'

# mining_sessions: process and name of the screen sessions that have one of the names, of any user. Sessions are sockets called
# PID.NAME; those whose process has ended stay where they are.
mining_sessions() {
    for socket in "$root"/run/screen/S-*/[0-9]*.* "$root"/run/screens/S-*/[0-9]*.* "$root"/var/run/screen/S-*/[0-9]*.* \
        "$root"/var/run/screens/S-*/[0-9]*.* "$root"/tmp/screens/S-*/[0-9]*.*; do
        session=${socket##*/}
        if [ ! -d "$root/proc/${session%%.*}" ]; then continue; fi
        case $nl$screens in *"$nl${session#*.}$nl"*) printf '%s\t%s\n' "${session%%.*}" "${session#*.}" ;; esac
    done
}
