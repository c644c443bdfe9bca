# The maintenance door's part on the word itself: out of the drop, its signature, its header. Functions only, called by maintenance.sh.
# shellcheck shell=sh disable=SC2034,SC2154

# prepare: the drop is for tasks that have it mounted, to write to; the answers are for them to read. Nobody else reaches either.
prepare() {
    mkdir -p "$drop" "${answers%/*}"
    chmod 0700 "$our"
    chmod 0733 "$drop"
    chmod 0755 "${answers%/*}"
}

# answer SERIAL OUTCOME CODE MESSAGE: a line for the region, and one for the journal. Only a signed word's serial is named.
answer() {
    set -- "$1" "$2" "$3" "$(flat "$4" | tr -d '\000-\037\177')"
    printf 'word %s: %s %s: %s\n' "$@"
    umask 022
    if [ -f "$answers" ] && [ "$(wc -c <"$answers")" -gt "$answers_bytes" ]; then
        tail -n 50 "$answers" >|"$answers.ionet-new" && mv -f "$answers.ionet-new" "$answers" || :
    fi
    { printf '%s\t%s\t%s\t%s\t%s\n' "$(date +%s)" "$@" >>"$answers"; } 2>/dev/null || :
    umask 077
}

# refuse SERIAL CODE MESSAGE
refuse() {
    answer "$1" refused "$2" "$3"
}

# take_word: by a rename within the file system, so that whoever dropped it can no more replace it; then a copy, which who still has the
# file open cannot write to. Who holds it or writes beside it holds up nothing for long.
take_word() {
    rm -rf "$run"
    mkdir -p "$run"
    sweep
    if [ ! -e "$drop/$word_name" ] && [ ! -L "$drop/$word_name" ]; then return; fi
    in=$(mktemp -d "$room/in.XXXXXX")
    if ! mv -f "$drop/$word_name" "$in/word"; then
        refuse - word_unreadable 'what lies in the drop cannot be moved'
    elif [ -L "$in/word" ] || [ ! -f "$in/word" ]; then
        refuse - word_unreadable 'what lay in the drop is not a file'
    elif ! within 5 head -c $((word_bytes + 1)) "$in/word" >|"$run/whole" 8<&-; then
        refuse - word_unreadable 'it cannot be read'
    elif [ "$(wc -c <"$run/whole")" -gt "$word_bytes" ]; then
        refuse - word_too_large "it has more than $word_bytes bytes"
    elif ! split_word; then
        refuse - word_unreadable 'there is no room for it'
    else
        carry_out
    fi
    sweep
    rm -rf "$run"
}

# split_word: $run/whole becomes what was signed, and the signature.
split_word() {
    sed "/^$signature_begins\$/,\$d" <"$run/whole" >|"$run/signed" &&
        sed -n "/^$signature_begins\$/,\$p" <"$run/whole" >|"$run/signature"
}

# sweep: what was taken from the drop, and what has lain there under other names for a day.
sweep() {
    within 20 find "$room" -mindepth 1 -maxdepth 1 -name 'in.*' -exec rm -rf {} + 8<&- || :
    within 20 find "$drop" -mindepth 1 -maxdepth 1 ! -name "$word_name" -mtime +0 -exec rm -rf {} + 8<&- || :
}

# is_signed: $run/signed, by $run/signature and a key that the host heeds now, which $signer becomes; else $wrong says why not.
is_signed() {
    if ! wrong=$(within 20 ssh-keygen -Y verify -f "$root$signers" -I operator -n ionet-maintenance -s "$run/signature" \
        <"$run/signed" 2>&1 8<&-); then
        wrong=${wrong:-no signature}
        return 1
    fi
    signer=${wrong##* }
}

node_id() {
    { read -r id <"$root$state_dir/client-id" || :; } 2>/dev/null
    printf '%s' "${id:-none}"
}

# read_header: of $run/signed: lines of a key, a space and a value, each key once, up to an empty line. What is not known is refused.
read_header() {
    format='' node='' serial='' expires='' when='' from='' lists='' confirm='' payload='' programs='' source='' wrong=''
    each_line "$(sed '/^$/,$d' <"$run/signed")" read_field || return 1
    for field in "$format" "$node" "$serial" "$expires" "$when" "$from" "$lists" "$confirm" "$payload"; do
        if [ -z "$field" ]; then
            wrong='a key is missing'
            return 1
        fi
    done
}

# read_field LINE
read_field() {
    wrong=${1%% *} value=${1#* } before=
    case $wrong in
    ionet-maintenance) before=$format format=$value && [ "$value" = 1 ] || return 1 ;;
    node) before=$node node=$value ;;
    serial) before=$serial && is_number "$value" && serial=$value || return 1 ;;
    expires) before=$expires expires=$value && is_number "$value" || return 1 ;;
    when) before=$when when=$value && case $value in any | ineligible | drained) ;; *) return 1 ;; esac ;;
    from) before=$from from=$value ;;
    signers) before=$lists lists=$value ;;
    confirm) before=$confirm confirm=$value && is_number "$value" || return 1 ;;
    payload) before=$payload payload=$value ;;
    programs) before=$programs programs=$value ;;
    source) before=$source source=$value ;;
    *) return 1 ;;
    esac
    case $value in '' | *[!A-Za-z0-9.,:/_~%-]*) return 1 ;; esac
    [ -z "$before" ]
}

# is_in_time: by the host's clock, which is never before what it was when a word counted last. $became and $wrong say why not.
is_in_time() {
    became=word_expired wrong='its time is over, or the clock of this host is wrong'
    now_s=$(date +%s) || return 1
    if [ "$now_s" -lt "$seen" ]; then now_s=$seen; fi
    if [ "$expires" -le "$now_s" ]; then return 1; fi
    became=word_too_far wrong="it lies more than $ahead_s s ahead of the clock of this host"
    [ "$expires" -le $((now_s + ahead_s)) ] && [ "$serial" -le $((expires * 1000000)) ]
}
