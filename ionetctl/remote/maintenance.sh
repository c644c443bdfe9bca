# The host's side of the maintenance door, as docs/explanation/maintenance.md describes it:
#
#   maintenance.sh take       carries out the signed word that lies in the drop (ionet-maintenance.service)
#   maintenance.sh prepare    makes the directories of the door, and puts back what a power cut left half done (before the agent starts)
#   maintenance.sh recover    puts back what a killed run left half done, with a restart of the agent (after ionet-maintenance.service)
#
# Whatever lies in the drop may have been written by anybody. It is moved out of reach, its size is bounded, and nothing of it is
# read before ssh-keygen has found it signed. It is joined with the functions of report.sh, of the lock, of the apply, of
# obtain_fetch.sh and of the other maintenance_*.sh, and with the text of receive.sh in $receive.
# shellcheck disable=SC2034,SC2154,SC2329 # variables and functions of the parts, called by name
set -euCf
umask 077
export LC_ALL=C
PATH=${PATH:+$PATH:}/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
root=${IONET_ROOT:-}
config=/etc/nomad.d/nomad.hcl
certificate=/etc/nomad.d/tls/client.pem
state_dir=/opt/nomad/data/client
signers=/etc/ionet/allowed_signers
our_dir=/var/lib/ionet
drop_dir=/var/lib/ionet/drop
word_name=region.word
answers_dir=/var/lib/ionet/answers
run_dir=/run/ionet-maintenance
unit=nomad.service
our=$root$our_dir
drop=$root$drop_dir
room=$our/maintenance
backup=$our/rollback
run=$root$run_dir
stage=$run
store=$our/artifacts
answers=$root$answers_dir/log
agent=127.0.0.1:4646
tab='	'
nl='
'
grace_s=5
start_deadline_s=${IONET_START_DEADLINE_S:-90}
poll_s=${IONET_POLL_S:-2}
word_bytes=65536
unpacked_bytes=4194304
record_bytes=1048576
answers_bytes=65536
staged='' aside=''
signature_begins='-----BEGIN SSH SIGNATURE-----'

# alone OPTION...: whether no other run is at it, by those options of flock; it stays so until this one and all that it started have
# ended. What changes nothing does not count: of busybox' timeout something is left for a second.
alone() {
    mkdir -p "$room"
    exec 8>>"$room/lock"
    flock "$@" 8
}

main() {
    case ${1:-} in
    take)
        if ! alone -n; then exit 0; fi
        recover yes
        # While what is left half done cannot be put back, words wait.
        if [ -e "$room/applying" ]; then sleep "$poll_s"; else take_word; fi
        ;;
    prepare)
        prepare
        if alone -n; then recover no; fi
        ;;
    recover)
        # What the run had started may need a moment to end, and until the next word nobody would come again.
        if alone -w 10; then recover yes; fi
        ;;
    *)
        echo 'maintenance.sh take|prepare|recover' >&2
        exit 2
        ;;
    esac
}

# All of it is read before any of it runs: it may replace itself.
main "$@"
exit 0
