# Carries out preparations: sh ./apply.sh in the staging, run by receive.sh under the host's lock; see docs/reference/preparations.md.
#
# Every preparation checks before it acts and reports what it changed, so that a second run changes and reports nothing.
# A package manager goes on with its work when the controller is gone; only its deadline ends it.
# It travels with the functions of report.sh and the other prepare_*.sh before it.
# shellcheck disable=SC2034,SC2154,SC2329 # variables and functions of the parts
set -eu
umask 022
export LC_ALL=C DEBIAN_FRONTEND=noninteractive APT_LISTCHANGES_FRONTEND=none UCF_FORCE_CONFFOLD=1 NEEDRESTART_MODE=l
root=${IONET_ROOT:-}
for directory in /usr/local/sbin /usr/local/bin /usr/sbin /usr/bin /sbin /bin; do
    PATH=${PATH:+$PATH:}$root$directory
done
our=$root/var/lib/ionet
stage=$our/staging
miners_dir=$our/miners
driver_mark=$our/driver-boot
cni_dir=/opt/cni/bin
docker_config=/etc/docker/daemon.json
modules_file=/etc/modules-load.d/ionet.conf
lock_wait_s=${IONET_LOCK_WAIT_S:-120}
settle_s=${IONET_SETTLE_S:-10} # how long a process has to end
tab=$(printf '\t')
nl='
'
grace_s=20 # a package manager has much to tidy up
limit_s=1800 may_reboot=no
step=prepare
reboot='' # why, where it must
has_updated=no

changed() {
    say "changed$tab$step$tab$(flat "$1")"
}

# first_line FILE: $got becomes its first line; empty where there is none.
first_line() {
    got=
    { IFS= read -r got <"$1" || :; } 2>/dev/null
}

# fail CODE MESSAGE: reports why, and ends. What was prepared before stays.
fail() {
    trap - EXIT
    set +e
    code=$1 said=$2
    case $said in
    *'No space left'* | *'quota exceeded'* | *'enough free space'*) code=disk_full ;;
    *'Read-only file system'*) code=read_only ;;
    *'Could not get lock'* | *'Unable to acquire the dpkg'* | *'Unable to lock'*) code=packages_locked ;;
    *'Held packages were changed'*) code=package_held ;;
    esac
    leave
    say "error$tab$code$tab$(flat "$step: $said")"
    exit 1
}

# leave: nothing of this run stays but what it prepared.
leave() {
    cd /
    rm -rf "$stage"
    rm -f "$our/lock"
}

# write FILE: standard input becomes the file, whole or not at all.
write() {
    mkdir -p "${1%/*}" && rm -f "$1.ionet-new" && cat >"$1.ionet-new" && chmod 0644 "$1.ionet-new" &&
        settle "$1.ionet-new" && mv -f "$1.ionet-new" "$1"
}

# service VERB UNIT...: systemctl, bounded.
service() {
    within 120 systemctl "$@"
}

# unit VERB UNIT...: the preparation fails when systemctl does.
unit() {
    try prepare_failed service "$@"
}

has_unit() {
    [ "$(within 10 systemctl show -p LoadState "$1" 2>/dev/null)" = LoadState=loaded ]
}

is_active() {
    [ "$(within 10 systemctl is-active "$1" 2>/dev/null)" = active ]
}

is_enabled() {
    [ "$(within 10 systemctl is-enabled "$1" 2>/dev/null)" = enabled ]
}

# run_unit UNIT: now and at every boot.
run_unit() {
    if ! is_enabled "$1"; then
        unit enable "$1"
        changed "enabled $1"
    fi
    if ! is_active "$1"; then
        if ! said=$(service start "$1" 2>&1); then fail prepare_failed "$(last_log "$1")"; fi
        changed "started $1"
    fi
}

# last_log UNIT: what it logged of its failure, else the output of systemctl.
last_log() {
    log=$(log_of "$1" 30 | grep -v "^$1: \|^St[ao]\|^Failed to start" | tail -n 3 || :)
    printf '%s does not start: %s\n' "$1" "${log:-$said}"
}

# --- all of it ---

# expect_stand_ins: a rehearsal host shares kernel and packages with the machine it runs on: it may not change those.
expect_stand_ins() {
    if [ -z "$root" ]; then return; fi
    for tool in apt-get dpkg modprobe timedatectl ufw firewall-cmd nft iptables ip6tables netfilter-persistent nvidia-ctk \
        nvidia-settings; do
        case $(command -v $tool) in
        '' | "$root"/* | "${IONET_STANDINS:-$root}"/*) ;;
        *) fail prepare_failed "a rehearsal host has no $tool of its own" ;;
        esac
    done
}

carry_out() {
    while IFS=$tab read -r kind one two; do
        case $kind in
        limit) limit_s=$one ;;
        reboot) may_reboot=$one ;;
        miner | home | spare | screen | own_stop | start_file | hold | card | vpn | gpu_modules | overclocks | watch)
            note_rig "$kind" "$one" "$two"
            ;;
        *)
            step=$kind
            say "step$tab$kind"
            "prepare_$kind" "$one" "$two"
            ;;
        esac
    done <"$stage/steps"
}

ask_for_reboot() {
    if [ -z "$reboot" ] && [ "$needed_reboot" = no ] && [ -e "$root/run/reboot-required" ]; then
        reboot='a package that was installed asks for it'
    fi
    if [ -z "$reboot" ]; then return; fi
    if [ "$may_reboot" != yes ]; then fail reboot_needed "the host must be rebooted: $reboot"; fi
    say "reboot$tab$(flat "$reboot")"
}

main() {
    exec </dev/null
    cd "$stage"
    trap 'fail prepare_failed "it ended unexpectedly"' EXIT
    trap '' HUP PIPE
    trap 'fail prepare_failed "a signal ended it"' INT TERM
    units='' homes='' spared='' screens='' own_stops='' start_files='' hold_file='' cards='' vpn_unit=''
    loads_modules=no overclocks='' watch_s=15 doomed='' sessions='' asks_gpus=yes
    expect_stand_ins
    needed_reboot=no
    if [ -e "$root/run/reboot-required" ]; then needed_reboot=yes; fi
    carry_out
    ask_for_reboot
    trap - EXIT
    leave
    say 'done'
}

# All of it is read before any of it runs: it removes itself.
main
exit 0
