# The maintenance door's part on carrying out a word that is signed and meant for this node, and on putting back what a killed run
# left. Functions only, called by maintenance.sh.
# shellcheck shell=sh disable=SC2034,SC2154

# carry_out SERIAL: once. A serial counts as used before anything else is done, so that no word ever comes again.
carry_out() {
    cp "$run/$1.word" "$run/signed"
    read -r signer <"$run/$1.signer"
    read_header
    last=0
    if [ -e "$room/serial" ]; then read -r last <"$room/serial" || last=unknown; fi
    if ! is_number "$last"; then
        refuse "$serial" word_old 'the last serial cannot be read: enroll this host again'
    elif [ "$serial" -eq "$last" ]; then
        # As a door that starts anew brings it again: the answer stands.
        printf 'word %s: has been answered\n' "$serial"
    elif [ "$serial" -lt "$last" ]; then
        refuse "$serial" word_old "a later one has come, $last"
    elif [ "$expires" -le "$(date +%s)" ]; then
        refuse "$serial" word_expired 'its time is over, or the clock of this host is wrong'
    elif ! { write "$serial" "$room/serial" && settle "$room"; }; then
        refuse "$serial" word_not_kept 'its serial cannot be kept: is the disk full?'
    elif ! is_payload_whole; then
        refuse "$serial" word_corrupt 'its payload has another digest'
    elif ! is_when "$when"; then
        refuse "$serial" node_not_ready "$wrong"
    elif [ "$from" != "$(stamp)" ]; then
        refuse "$serial" host_changed "the host is not at $from but at $(stamp)"
    elif ! obtain_programs; then
        refuse "$serial" programs_not_fetched "$wrong"
    else
        apply
    fi
}

# is_payload_whole: $run/payload.tar becomes the archive.
is_payload_whole() {
    sed '1,/^$/d' <"$run/signed" | base64 -d >|"$run/payload.gz" 2>/dev/null || return 1
    digest=$(sha256sum <"$run/payload.gz")
    [ "${digest%% *}" = "$payload" ] || return 1
    gzip -dc <"$run/payload.gz" 2>/dev/null | head -c $((unpacked_bytes + 1)) >|"$run/payload.tar"
    [ "$(wc -c <"$run/payload.tar")" -le "$unpacked_bytes" ]
}

# obtain_programs: those that the word names lie where an apply finds them, each under its digest; $digests has these.
obtain_programs() {
    digests='' wrong='its programs cannot be stored'
    if [ -z "$programs" ]; then return 0; fi
    mkdir -p "$store" || return 1
    choose_tool
    IFS=,
    # shellcheck disable=SC2086 # a program each
    set -- $programs
    unset IFS
    for program in "$@"; do
        wrong="it names a program as $program"
        case ${program%%:*} in '' | *[!0-9a-f]*) return 1 ;; esac
        is_number "${program#*:}" || return 1
        new=$store/.${program%%:*}.$$
        wrong=$(set +C && fetch_file "${program%%:*}" "${program#*:}" "$source")
        rm -f "$new" "$new.why"
        case $wrong in "got$tab"*) ;; *) return 1 ;; esac
        digests="$digests ${program%%:*}"
    done
}

# stamp: that of the configuration, as the region shows it once the agent has come up with it.
stamp() {
    found=$(sed -n 's/^[ 	]*"unique\.ionet_bundle" *= *"\([^"]*\)".*/\1/p' "$root$config" 2>/dev/null | head -n 1)
    printf '%s' "${found:--}"
}

# is_when CONDITION: by what the region says of this node now.
is_when() {
    if [ "$1" = any ]; then return 0; fi
    if ! ask_node; then
        wrong="the region was not heard: $(flat "$said")"
    elif ! has_field '"SchedulingEligibility":"ineligible"'; then
        wrong='the node is not ineligible'
    elif [ "$1" = ineligible ]; then
        return 0
    elif ! has_field '"DrainStrategy":null'; then
        wrong='the node is being drained'
    elif case $said in *'"LastDrain":{'*'"Status":"complete"'*) false ;; esac then
        wrong='the node has not been drained'
    else
        return 0
    fi
    return 1
}

# has_field TEXT: $said has it. Within a text of JSON its quotation marks would be escaped.
has_field() {
    case $said in *"$1"*) return 0 ;; esac
    return 1
}

# ask_node: $said becomes the region's record of this node, through the agent; the node's own secret is its right to see it, and
# goes through a pipe.
ask_node() {
    secret=''
    { read -r secret <"$root$state_dir/secret-id" || :; } 2>/dev/null
    said=$(printf 'GET /v1/node/%s HTTP/1.0\r\nHost: localhost\r\nX-Nomad-Token: %s\r\n\r\n' "$(node_id)" "$secret" |
        within 15 openssl s_client -quiet -connect "$agent" -CAfile "$root$authority" -verify_return_error 2>&1) || return 1
    case $said in *'HTTP/1.'[01]' 200 '*) return 0 ;; esac
    return 1
}

# is_confirmed: the region shows the node ready with the configuration that lies here now, within the time that the word gives.
is_confirmed() {
    wanted=$(stamp)
    read_clock
    give_up=$((now + confirm * 100))
    while :; do
        if ask_node && has_field "\"unique.ionet_bundle\":\"$wanted\"" && has_field '"Status":"ready"'; then return 0; fi
        read_clock
        if [ "$now" -ge "$give_up" ]; then return 1; fi
        sleep "$poll_s"
    done
}

# apply: the payload by its own apply script, in the dialogue of docs/explanation/host-protocol.md, in which this is the controller.
apply() {
    outcome=failed became=apply_failed message='it ended unexpectedly' is_region_heard=yes
    if ! { write "$serial" "$room/applying" && settle "$room"; }; then
        refuse "$serial" word_not_kept 'that it is being carried out cannot be kept: is the disk full?'
        return
    fi
    read_fence
    rm -f "$run/to" "$run/from"
    mkfifo "$run/to" "$run/from"
    # What is not confirmed is put back, also when this run ends.
    # shellcheck disable=SC2086 # a digest each
    IONET_UNANSWERED=restore sh -c "$receive" sh door "word-$serial" "$signer" "$(date -u +%Y-%m-%dT%H:%M:%SZ)" "$fence" - $digests \
        <"$run/to" >|"$run/from" 2>&1 &
    exec 5>|"$run/to" 6<"$run/from"
    trap '' PIPE
    { wc -c <"$run/payload.tar" && cat "$run/payload.tar"; } >&5 2>/dev/null || :
    while IFS= read -r line <&6; do take_report "$line"; done
    exec 5>&- 6<&-
    wait
    trap - PIPE
    rm -f "$room/applying"
    answer "$serial" "$outcome" "$became" "$message"
}

read_fence() {
    fence=0
    { IFS=$tab read -r fence _ <"$our/fence" || :; } 2>/dev/null
    case $fence in '' | 0* | *[!0-9]* | ????????????????*) fence=0 ;; esac
}

# take_report LINE
take_report() {
    case $1 in
    "await${tab}verdict")
        if [ "$confirm" = 0 ] || is_confirmed; then
            reply confirmed
        else
            is_region_heard=no
            reply ''
        fi
        ;;
    "await$tab"*) reply '' ;;
    "error$tab"*)
        became=${1#*"$tab"}
        message=${became#*"$tab"} became=${became%%"$tab"*}
        if [ "$is_region_heard" = no ]; then
            became=not_confirmed message="the region did not show the node with it within $confirm s: $message"
        fi
        ;;
    'done') outcome=applied became=$(stamp) message=$signer ;;
    *) printf '%s\n' "$1" ;;
    esac
}

reply() {
    { printf '%s\n' "$1" >&5 || :; } 2>/dev/null
}

# recover RESTARTS: what a run that was killed had changed is put back, unless it was whole, or an enrolment has taken over.
recover() {
    if [ ! -e "$room/applying" ] || is_locked; then return 0; fi
    serial='' owner=''
    read -r serial <"$room/applying" || :
    { read -r owner <"$our/pending" || :; } 2>/dev/null
    said='it was cut off, before or after all changes'
    if [ "$owner" = "word-$serial" ]; then
        touched=$1
        mkdir -p "$run"
        if [ -e "$backup/index" ]; then
            if ! roll_back; then
                answer "$serial" failed interrupted 'it was cut off, and putting the old files back failed: enroll this host again'
                return 0
            fi
            said='it was cut off; the host was put back as it was'
        fi
        clean forget
        rm -rf "$our/staging"
    fi
    answer "$serial" failed interrupted "$said"
    rm -f "$room/applying"
}

# is_locked: an apply runs, ours or an enrolment's.
is_locked() {
    if [ ! -L "$our/lock" ]; then return 1; fi
    holder=$(readlink "$our/lock" | cut -f 4,6)
    boot=''
    { read -r boot <"$root/proc/sys/kernel/random/boot_id" || :; } 2>/dev/null
    stat=''
    { read -r stat <"/proc/${holder%%"$tab"*}/stat" || :; } 2>/dev/null
    case ${stat##*\) } in '' | Z*) return 1 ;; esac
    [ "${holder#*"$tab"}" = "$boot" ]
}
