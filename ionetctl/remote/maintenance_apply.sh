# The maintenance door's part on carrying out a word. Functions only, called by maintenance.sh.
# shellcheck shell=sh disable=SC2034,SC2154

# carry_out: the word in $run/whole, once. Nothing of it is read before its signature holds, and its serial counts as used before
# anything else is done, so that no word ever comes again. The fence is read first: whatever enrolment takes the lock after that,
# the apply sees it, and changes nothing.
carry_out() {
    read_fence
    if ! is_signed; then
        refuse - word_unsigned "$wrong"
    elif ! read_header; then
        refuse "${serial:--}" word_malformed "its header is not of this version: $wrong"
    elif [ "$node" != "$(node_id)" ]; then
        refuse "$serial" word_of_other_node "it is for the node $node"
    elif ! read_serial; then
        # No more words. An enrolment sees that this file is missing, puts it there, and mends the serial.
        rm -f "$root$signers" || :
        refuse "$serial" word_old 'the last serial cannot be read: enroll this host again'
    elif [ "$serial" -eq "$last" ]; then
        # As a door that starts anew brings it again: the answer stands.
        printf 'word %s: has been answered\n' "$serial"
    elif [ "$serial" -lt "$last" ]; then
        refuse "$serial" word_old "a later one has come, $last"
    elif ! is_in_time; then
        refuse "$serial" "$became" "$wrong"
    elif ! keep_serial; then
        refuse "$serial" word_not_kept 'its serial cannot be kept: is the disk full?'
    elif ! is_payload_whole; then
        refuse "$serial" word_corrupt 'its payload has another digest'
    elif ! obtain_programs; then
        refuse "$serial" programs_not_fetched "$wrong"
    elif ! counts; then
        refuse "$serial" "$became" "$wrong"
    else
        apply
    fi
    rm -f "$room/applying"
}

# keep_serial: on disk; and that the word is being carried out, so that it is answered whatever becomes of this run.
keep_serial() {
    write "$serial" "$room/applying" && write "$serial$tab$now_s" "$room/serial" && settle "$room"
}

# counts: the word still does, whatever has happened while its programs were fetched, and the host is as it must be; else $became and
# $wrong say why not. First comes that no enrolment is at work: one that was before the fence was read could still change the rest.
counts() {
    became=locked wrong='an enrolment is at work'
    is_free || return 1
    became=word_unsigned
    is_signed && is_in_time || return 1
    became=host_changed wrong="the host is not at $from but at $(stamp)"
    [ "$from" = "$(stamp)" ] || return 1
    # An enrolment that changes the signers alone leaves the stamp as it is.
    became=signers_changed wrong='the list of signers is another than the word was made for'
    is_of_signers || return 1
    became=node_not_ready
    is_when "$when"
}

# is_of_signers: the list of signers is one of those that the word names.
is_of_signers() {
    digest=$(sha256sum <"$root$signers") || return 1
    case ,$lists, in *,"${digest%% *}",*) ;; *) return 1 ;; esac
}

# is_payload_whole: $run/payload.tar becomes the archive.
is_payload_whole() {
    sed '1,/^$/d' <"$run/signed" | base64 -d >|"$run/payload.gz" 2>/dev/null || return 1
    digest=$(sha256sum <"$run/payload.gz")
    [ "${digest%% *}" = "$payload" ] || return 1
    gzip -dc <"$run/payload.gz" 2>/dev/null | head -c $((unpacked_bytes + 1)) >|"$run/payload.tar" || return 1
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

# apply: the payload by its own apply script, in the dialogue of docs/explanation/host-protocol.md, in which this is the controller.
apply() {
    outcome=failed became=apply_failed message='it ended unexpectedly' is_region_heard=yes
    rm -f "$run/to" "$run/from"
    mkfifo "$run/to" "$run/from"
    # What is not confirmed is put back, also when this run ends.
    # shellcheck disable=SC2086 # a digest each
    IONET_UNANSWERED=restore sh -c "$receive" sh door "word-$serial" "$signer" "$(date -u +%Y-%m-%dT%H:%M:%SZ)" "$fence" "${lease:--}" $digests \
        <"$run/to" >|"$run/from" 2>&1 &
    exec 5>|"$run/to" 6<"$run/from"
    trap '' PIPE
    { wc -c <"$run/payload.tar" && cat "$run/payload.tar"; } >&5 2>/dev/null || :
    while IFS= read -r line <&6; do take_report "$line"; done
    exec 5>&- 6<&-
    wait
    trap - PIPE
    answer "$serial" "$outcome" "$became" "$message"
}

# take_report LINE
take_report() {
    case $1 in
    "await${tab}verdict")
        if keep_signers && { [ "$confirm" = 0 ] || is_confirmed; }; then
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

# keep_signers: who may sign from now on is not for the region to decide: what is put back when it does not confirm is all but that.
keep_signers() {
    if ! grep -qxF "$signers" "$backup/index"; then return 0; fi
    left=$(grep -vxF "$signers" "$backup/index") || [ $? = 1 ] || return 1
    write "$left" "$backup/index" && settle "$backup"
}
