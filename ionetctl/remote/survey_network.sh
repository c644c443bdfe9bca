# The survey's part on the network: interfaces, the way to the region's servers, firewalls.
# Functions only, called by survey.sh, which sets root, tab and nl.
# shellcheck shell=sh disable=SC2154

# --- interfaces ---

# interfaces: $routed has the names of those with a default route, between spaces.
interfaces() {
    if [ ! -d "$root/sys/class/net" ]; then return; fi
    fact looked interfaces
    shown=0
    for directory in "$root"/sys/class/net/*; do
        if is_physical "$directory"; then interface "$directory"; fi
    done
    # In a container no interface has a device.
    if [ "$shown" = 0 ]; then
        for directory in "$root"/sys/class/net/*; do
            case ${directory##*/} in
            lo | docker* | veth* | br-* | virbr* | cni* | nomad* | tun* | tap* | wg* | bonding_masters) ;;
            *) interface "$directory" ;;
            esac
        done
    fi
}

# is_physical DIRECTORY: whether hardware is behind it, or the way out leads through it (a bond, a bridge); the virtual
# functions of a card are not counted beside it.
is_physical() {
    case $routed in *" ${1##*/} "*) return 0 ;; esac
    [ -e "$1/device" ] && [ ! -e "$1/device/physfn" ]
}

interface() {
    name=${1##*/}
    first_line "$1/address"
    mac=$got
    case $mac in
    *[!0-9a-f:]* | *:: | 00:00:00:00:00:00) return ;;
    ??:??:??:??:??:??*) ;;
    *) return ;;
    esac
    if [ "$shown" -ge 64 ]; then return; fi
    shown=$((shown + 1))
    first_line "$1/mtu"
    mtu=$got
    first_line "$1/operstate"
    case $got in up) is_up=1 ;; down) is_up=0 ;; *) is_up= ;; esac
    first_line "$1/speed"
    case $got in '' | *[!0-9]* | 0 | 4294967295) speed= ;; *) speed=$got ;; esac
    case $routed in *" $name "*) has_route=1 ;; *) has_route=0 ;; esac
    fact interface "$name" "$mac" "$mtu" "$is_up" "$speed" "$has_route"
}

# --- the way to the servers ---

# reaches: one attempt for each of $servers (HOST:PORT,…), all at the same time.
reaches() {
    if [ "$servers" = - ]; then return; fi
    set --
    while [ -n "$servers" ] && [ $# -lt 128 ]; do
        server=${servers%%,*}
        servers=${servers#"$server"}
        servers=${servers#,}
        case ,$servers, in *",$server,"*) continue ;; esac
        host=${server%:*}
        host=${host#\[}
        set -- "$@" "${host%\]}" "${server##*:}"
    done
    # Only from a python3 that ended well: the servers are tried again otherwise, and each has one record. It is passed
    # on line by line, since what is written at once by several parts mixes where it is long.
    if has python3 && ask 10 python3 -I -S -c "$reach_program" "$@" && [ -n "$said" ]; then
        IFS=$nl
        for row in $said; do record "$row"; done
        unset IFS
        return
    fi
    while [ $# -gt 1 ]; do
        reach "$1" "$2" &
        shift 2
    done
    wait
}

# In Python 3.6's syntax. Time is that of the handshake alone; where a name has several addresses, they share 3 s, as in
# Go's dialer. Each answer is written whole, so that those of threads do not mix. While the host is so busy that this
# process wakes late, its answers may wait for a CPU as well: that time does not count towards the limit.
# shellcheck disable=SC2016 # nothing in it is the shell's
reach_program='
import os, socket, sys, threading, time

LIMIT_S = 3.0

def reach(host, port):
    try:
        found = socket.getaddrinfo(host, port, 0, socket.SOCK_STREAM)
    except (OSError, ValueError):
        return "", "unresolved", "", ""
    resolved.add((host, port))
    end = time.monotonic() + LIMIT_S
    failure = "unreachable"
    for rank, (family, kind, protocol, _, address) in enumerate(found):
        share_s = max(0.05, (end - time.monotonic()) / (len(found) - rank))
        try:
            with socket.socket(family, kind, protocol) as attempt:
                attempt.settimeout(share_s)
                began = time.perf_counter()
                attempt.connect(address)
                took_ms = (time.perf_counter() - began) * 1000
                return "%.3f" % took_ms, "", attempt.getsockname()[0], attempt.getpeername()[0]
        except (socket.timeout, TimeoutError):
            failure = "timeout"
        except ConnectionRefusedError:
            failure = "refused"
        except (OSError, OverflowError):
            failure = "unreachable"
    return "", failure, "", ""

def report(server, answer):
    with lock:
        if server in waiting:
            os.write(1, "\t".join(("reach",) + server + answer).encode() + b"\n")
            # Not before: the program ends as soon as none is waited for.
            del waiting[server]

lock = threading.Lock()
servers = list(zip(sys.argv[1::2], sys.argv[2::2]))
threads = [threading.Thread(target=lambda s=s: report(s, reach(*s)), daemon=True) for s in servers]
waiting = dict(zip(servers, threads))
resolved = set()
for thread in threads:
    thread.start()
left_s = LIMIT_S + 0.5
while waiting and left_s > 0:
    began = time.monotonic()
    time.sleep(0.02)
    took_s = time.monotonic() - began
    if took_s < 0.1:
        left_s -= took_s
for server in list(waiting):
    report(server, ("", "timeout" if server in resolved else "unresolved", "", ""))
os._exit(0)
'

# reach HOST PORT: the same without Python, as well as bash or nc can.
reach() {
    address=$1
    if has getent; then
        status=0
        ask 3 getent ahosts "$1" || status=$?
        address=${said%%[[:space:]]*}
        if [ -z "$address" ]; then
            # A busy host may have been too slow for the limit: then nothing is known.
            if [ "$status" -lt 124 ] || ask 1 true; then fact reach "$1" "$2" '' unresolved '' ''; fi
            return
        fi
    fi
    failure=no_tool
    if has bash; then reach_by_bash "$address" "$2"; fi
    if [ "$failure" = no_tool ] && has nc; then reach_by_nc "$address" "$2"; fi
    if [ -n "$failure" ]; then address=; fi
    fact reach "$1" "$2" "$took" "$failure" '' "$address"
}

# reach_by_bash ADDRESS PORT: $took in ms or $failure. A bash may be built without /dev/tcp.
reach_by_bash() {
    status=0
    # shellcheck disable=SC2016 # expanded by that bash
    ask 3 bash -c 'exec 2>&1
        now() { now=${EPOCHREALTIME:-}; now=${now/[.,]/}; if [ -z "$now" ]; then now=$(($(date +%s%N) / 1000)); fi; }
        now; began=$now
        exec 3<>"/dev/tcp/$0/$1" || exit 1
        now; echo "$((now - began))"' "$1" "$2" || status=$?
    case $status.$said in
    0.*[!0-9]* | 0. | *'No such file'*) failure=no_tool took= ;;
    0.*) milliseconds "$said" ;;
    *) failed "$status" "$said" ;;
    esac
}

# reach_by_nc ADDRESS PORT. Busybox's nc knows no -z, and would wait for the server to close; a program to run ends it at once.
reach_by_nc() {
    status=0
    read_clock
    began=$now
    said=$(within 3 nc -z -w 3 "$1" "$2" 2>&1 </dev/null) || status=$?
    case $said in
    *option*)
        status=0
        said=$(within 3 nc -w 3 "$1" "$2" -e true 2>&1 </dev/null) || status=$?
        ;;
    esac
    read_clock
    if [ "$status" = 0 ]; then
        milliseconds "$(((now - began) * 10000))"
    else
        failed "$status" "$said"
    fi
}

# milliseconds MICROSECONDS: a success, as $took.
milliseconds() {
    failure=
    fraction=00$(($1 % 1000))
    took=$(($1 / 1000)).${fraction#"${fraction%???}"}
}

# failed STATUS MESSAGE: $failure, from the output of a program.
failed() {
    took=
    case $1.$2 in
    *[Rr]efused*) failure=refused ;;
    124.* | *'timed out'*) failure=timeout ;;
    12[67].*) failure=no_tool ;;
    *'not known'* | *'name resolution'* | *'bad address'* | *'invalid host'* | *'No address'*) failure=unresolved ;;
    *) failure=unreachable ;;
    esac
}

# --- firewalls ---

# Those in force, as their own programs report them. What manages the kernel's rules is named rather than the rules.
firewalls() {
    is_managed=0 answered=0
    ufw
    firewalld
    if [ "$is_managed" = 0 ]; then kernel_rules; fi
    if [ "$answered" = 1 ]; then fact looked firewalls; fi
}

# has_line FILE PATTERN: whether a line of the file does fit.
has_line() {
    if [ ! -r "$1" ]; then return 1; fi
    while IFS= read -r line || [ -n "$line" ]; do
        # shellcheck disable=SC2254 # a pattern
        case $line in $2) return 0 ;; esac
    done <"$1"
    return 1
}

# ufw is a slow program: where it is off by its settings, it is not run.
ufw() {
    if ! has ufw || has_line "$root/etc/ufw/ufw.conf" 'ENABLED=no*'; then return; fi
    if ! ask 5 ufw status verbose; then return; fi
    answered=1
    case $said in
    *'Status: active'*)
        is_managed=1
        judge ufw "$(printf '%s\n' "$said" | ufw_verdict)"
        ;;
    esac
}

firewalld() {
    if ! has firewall-cmd; then return; fi
    ask 5 firewall-cmd --state || :
    if [ "$said" != running ]; then return; fi
    is_managed=1 answered=1
    verdict=unknown
    if has nft && ask 5 nft list ruleset; then nft_verdict; fi
    judge firewalld "${verdict:-0}"
}

kernel_rules() {
    verdict=
    if has nft && ask 5 nft list ruleset; then
        answered=1
        nft_verdict
        if [ -n "$verdict" ]; then judge nftables "$verdict" && return; fi
    fi
    # Rules of the old kind do not show in nft. Asking for them loads their module: only where it is in use, or where
    # nothing else shows the rules.
    if ! has iptables; then return; fi
    if [ "$answered" = 0 ] || has_line "$root/proc/net/ip_tables_names" '*filter*'; then
        if ! ask 5 iptables -S OUTPUT; then return; fi
        answered=1
        verdict=$(printf '%s\n' "$said" | iptables_verdict)
        if [ -n "$verdict" ]; then judge iptables "$verdict"; fi
    fi
}

# judge KIND VERDICT: the record. A verdict is 0 (what leaves is let out), 1 (it is not) and then whether RPC is, or unknown.
judge() {
    case $2 in
    unknown) fact firewall "$1" '' '' ;;
    1*) fact firewall "$1" 1 "${2#1 }" ;;
    *) fact firewall "$1" 0 '' ;;
    esac
}

# Whether a port, or a list of ports and ranges (80,4000-5000 or 80:90), holds the one that servers listen on.
# shellcheck disable=SC2016 # fields of awk
awk_covers='
    function covers(list,   count, i, part, ends) {
        count = split(list, part, /[ \t,{}]+/)
        for (i = 1; i <= count; i++) {
            if (part[i] !~ /^[0-9]/) continue
            split(part[i] ":" part[i], ends, /[:-]/)
            if (ends[1] + 0 <= 4647 && 4647 <= ends[2] + 0) return 1
        }
        return 0
    }
    function after(word) { return substr($0, index($0, word) + length(word)) }
'

# ufw_verdict: of "ufw status verbose".
ufw_verdict() {
    awk "$awk_covers"'
        /^Default:/ && /(deny|reject) \(outgoing\)/ { blocks = 1 }
        / (ALLOW|DENY|REJECT) OUT / {
            port = $2 ~ /^[0-9]/ ? $2 : $1
            if (port ~ /\/udp$/) next
            sub(/\/tcp$/, "", port)
            if ($1 != "Anywhere" && !covers(port)) next
            if (/ ALLOW OUT /) allows = 1
            else if (!allows) blocks = 1
        }
        END { print blocks ? "1 " allows + 0 : 0 }'
}

# nft_verdict: $verdict, of "nft list ruleset" in $said. A packet must pass every chain that hooks what leaves; jumps are not
# followed. Most hosts forbid nothing there.
nft_verdict() {
    verdict=
    case $said in *'hook output'*) ;; *) return ;; esac
    case $said in *drop* | *reject*) ;; *) return ;; esac
    verdict=$(printf '%s\n' "$said" | awk "$awk_covers"'
        function settle() {
            if (blocks) { blocked = 1; if (!allows) shut = 1 }
            inside = blocks = allows = settled = 0
        }
        /^[ \t]*set [^ ]+ \{/ { settle(); set = "@" $2; next }
        set != "" { if (/^[ \t]*\}$/) set = ""; else if (length(elements[set]) < 9999) elements[set] = elements[set] $0; next }
        /^[ \t]*chain [^ ]+ \{/ { settle(); inside = 1; next }
        inside && /type (filter|route) hook output / { inside = 2; if (/policy drop/) blocks = 1; next }
        inside && /^[ \t]*\}/ { settle(); next }
        inside == 2 && !settled {
            gsub(/counter packets [0-9]+ bytes [0-9]+ |comment "[^"]*"|log( (prefix|level|flags|group) ("[^"]*"|[^ ]+))* /, "")
            gsub(/^[ \t]+|[ \t]+$/, "")
            accepts = /accept$/
            if (!accepts && !/(drop|reject( with .*)?)$/) next
            if (/^((meta l4proto|ip protocol) tcp )?(accept|drop|reject)/) settled = 1
            else if (/(tcp|th) dport [^!]/) {
                ports = after("dport ")
                sub(ports ~ /^\{/ ? "}.*" : " .*", "", ports)
                if (!covers(ports in elements ? elements[ports] : ports)) next
            } else next
            if (accepts) allows = 1
            else if (!allows) blocks = 1
        }
        END { settle(); if (blocked) print 1, !shut }')
}

# iptables_verdict: of "iptables -S OUTPUT". Jumps are not followed.
iptables_verdict() {
    awk "$awk_covers"'
        /^-P OUTPUT/ && $3 != "ACCEPT" { blocks = 1 }
        /^-A OUTPUT/ && !settled {
            gsub(/ -m comment --comment ("[^"]*"|[^ ]+)/, "")
            if (/ ! / || !/ -j (ACCEPT|DROP|REJECT)/) next
            if (/^-A OUTPUT( -p tcp)? -j /) settled = 1
            else if (!/ -p tcp / || !/ --dports? / || !covers(substr(after(" --dport"), 1))) next
            if (/ -j ACCEPT/) allows = 1
            else if (!allows) blocks = 1
        }
        END { if (blocks) print 1, allows + 0 }'
}
