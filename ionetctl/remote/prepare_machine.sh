# Preparing: the clock, kernel modules and firewalls.
# Functions only, called by prepare.sh, which sets the paths and how to fail.
# shellcheck shell=sh disable=SC2034,SC2154

prepare_time_sync() {
    if ntp_is_on; then return; fi
    if ! within 30 timedatectl set-ntp true >"$stage/said" 2>&1; then
        choose systemd-timesyncd chrony
        install 100 "$picked"
        # It lists the time services only when it starts.
        service try-restart systemd-timedated.service >/dev/null 2>&1 || :
        try prepare_failed within 30 timedatectl set-ntp true
    fi
    if ! ntp_is_on; then fail prepare_failed 'the time service was switched on and does not run'; fi
    changed 'switched time synchronization on'
}

ntp_is_on() {
    [ "$(within 10 timedatectl show -p NTP 2>/dev/null)" = NTP=yes ]
}

prepare_modules() {
    for module in bridge br_netfilter overlay; do
        if is_loaded "$module"; then continue; fi
        try module_missing within 30 modprobe "$module"
        changed "loaded $module"
    done
    # The controller compares the digest of this text.
    wanted="# By ionetctl, for Nomad's bridge networks and Docker.${nl}bridge${nl}br_netfilter${nl}overlay"
    if [ "$(cat "$root$modules_file" 2>/dev/null)" = "$wanted" ]; then return; fi
    try prepare_failed write_text "$wanted" "$root$modules_file"
    changed "wrote $modules_file"
}

# write_text TEXT FILE
write_text() {
    printf '%s\n' "$1" | write "$2"
}

# is_loaded MODULE: or built in.
is_loaded() {
    if [ -d "$root/sys/module/$1" ] || grep -qs "^$1 " "$root/proc/modules"; then return; fi
    grep -qs "/$1\.ko" "$root/lib/modules/$(uname -r)/modules.builtin"
}

# prepare_firewall KIND PORT
prepare_firewall() {
    case $1 in
    ufw) open_ufw "$2" ;;
    firewalld) open_firewalld "$2" ;;
    nftables) open_nftables "$2" ;;
    iptables) open_iptables "$2" ;;
    *) fail firewall_unclear "nobody knows how to open $1" ;;
    esac
}

open_ufw() {
    if ! said=$(within 60 ufw allow out "$1/tcp" 2>&1); then fail prepare_failed "$said"; fi
    case $said in *'Rule added'* | *'Rules updated'*) changed "ufw lets TCP $1 out" ;; esac
}

# By direct rules, for both families, for good and for now.
open_firewalld() {
    for family in ipv4 ipv6; do
        add_direct "$family" "$1" --permanent
        add_direct "$family" "$1"
    done
}

# add_direct FAMILY PORT [--permanent]
add_direct() {
    family=$1 port=$2
    shift 2
    if within 30 firewall-cmd "$@" --direct --query-rule "$family" filter OUTPUT 0 -p tcp --dport "$port" -j ACCEPT \
        >/dev/null 2>&1; then
        return
    fi
    try prepare_failed within 30 firewall-cmd "$@" --direct --add-rule "$family" filter OUTPUT 0 -p tcp --dport "$port" \
        -j ACCEPT
    changed "firewalld lets TCP $port out ($family${1:+, $1})"
}

# open_nftables PORT: in every chain of what leaves that drops by policy, now and in the file that nftables.service
# loads. Rules that come from elsewhere would be gone at the next boot: then nothing is changed.
open_nftables() {
    port=$1 file=$root/etc/nftables.conf
    chains=$(within 10 nft list chains 2>/dev/null) || chains=
    rules=$(printf '%s\n' "$chains" | awk -v port="$port" '
        $1 == "table" { table = $2 " " $3 }
        $1 == "chain" { chain = $2 }
        /hook output/ && /policy drop/ {
            print "insert rule " table " " chain " tcp dport " port " accept comment \"ionet\""
        }')
    if [ -z "$rules" ]; then fail firewall_unclear 'nft shows no chain of what leaves that drops by policy'; fi
    if [ ! -r "$file" ] || ! is_enabled nftables.service; then
        fail firewall_unclear "the rules of nft come from elsewhere than $file and nftables.service"
    fi
    { cat "$file" && printf '%s\n' "$rules"; } >"$stage/nftables.conf"
    # The file is a program of its own: it must still hold together when it is loaded at boot.
    try firewall_unclear within 30 nft -c -f "$stage/nftables.conf"
    keep_old /etc/nftables.conf
    mode=$(stat -c %a "$file")
    try prepare_failed write_copy "$stage/nftables.conf" "$file"
    chmod "$mode" "$file"
    printf '%s\n' "$rules" >"$stage/rules"
    try prepare_failed within 30 nft -f "$stage/rules"
    changed "nftables lets TCP $port out, now and at boot"
}

open_iptables() {
    if ! has netfilter-persistent; then
        fail firewall_unclear 'there is no netfilter-persistent to keep a rule of iptables over a boot'
    fi
    for program in iptables ip6tables; do
        if ! has "$program" || within 30 "$program" -C OUTPUT -p tcp --dport "$1" -j ACCEPT 2>/dev/null; then continue; fi
        try prepare_failed within 30 "$program" -I OUTPUT -p tcp --dport "$1" -j ACCEPT
        changed "$program lets TCP $1 out"
    done
    try prepare_failed within 60 netfilter-persistent save
}
