# The maintenance door's part on words: out of the drop, checked, their header read. Functions only, called by maintenance.sh.
# shellcheck shell=sh disable=SC2034,SC2154

# prepare: the drop is for tasks that have it mounted, to write to; the answers are for them to read. Nobody else reaches either.
prepare() {
    mkdir -p "$drop" "${answers%/*}"
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

# refuse SERIAL CODE MESSAGE: and no more than a word a second is refused, however many are dropped.
refuse() {
    answer "$1" refused "$2" "$3"
    has_refused=yes
}

# take_words: all words that lie in the drop now are checked, then carried out by their serials. Those beyond some wait for the next run.
take_words() {
    rm -rf "$run"
    mkdir -p "$run"
    taken=0 words='' has_refused=no
    set +f
    set -- "$drop"/*.word
    set -f
    for dropped in "$@"; do
        if [ $taken -lt "$words_at_once" ]; then take_one "$dropped"; fi
    done
    each_line "$(printf '%s' "$words" | sort -n)" carry_out
    rm -rf "$run"
    if [ $has_refused = yes ]; then sleep 1; fi
}

# take_one PATH: by a rename within the file system, so that whoever dropped it can no more replace it; then a copy, which
# who still has the file open cannot write to.
take_one() {
    if [ ! -e "$1" ] && [ ! -L "$1" ]; then return; fi
    taken=$((taken + 1))
    rm -rf "$room/in"
    if ! mv -f "$1" "$room/in"; then
        refuse - word_unreadable 'what lies in the drop cannot be moved'
    elif [ -L "$room/in" ] || [ ! -f "$room/in" ]; then
        refuse - word_unreadable 'what lay in the drop is not a file'
    elif ! head -c $((word_bytes + 1)) <"$room/in" >|"$run/whole"; then
        refuse - word_unreadable 'it cannot be read'
    elif [ "$(wc -c <"$run/whole")" -gt "$word_bytes" ]; then
        refuse - word_too_large "it has more than $word_bytes bytes"
    else
        check_word
    fi
    rm -rf "$room/in"
}

# check_word: $run/whole. Nothing of it is read before its signature holds.
check_word() {
    sed "/^$signature_begins\$/,\$d" <"$run/whole" >|"$run/signed"
    sed -n "/^$signature_begins\$/,\$p" <"$run/whole" >|"$run/signature"
    if ! said=$(within 20 ssh-keygen -Y verify -f "$root$signers" -I operator -n ionet-maintenance -s "$run/signature" \
        <"$run/signed" 2>&1); then
        refuse - word_unsigned "${said:-no signature}"
    elif ! read_header; then
        refuse "${serial:--}" word_malformed "its header is not of this version: $wrong"
    elif [ "$node" != "$(node_id)" ]; then
        refuse "$serial" word_of_other_node "it is for the node $node"
    elif [ -e "$run/$serial.word" ]; then
        refuse "$serial" word_repeated 'it lay there twice'
    else
        mv -f "$run/signed" "$run/$serial.word"
        printf '%s\n' "${said##* }" >|"$run/$serial.signer"
        words=$words$serial$nl
    fi
}

node_id() {
    { read -r id <"$root$state_dir/client-id" || :; } 2>/dev/null
    printf '%s' "${id:-none}"
}

# read_header: of $run/signed: lines of a key, a space and a value, each key once, up to an empty line. What is not known is refused.
read_header() {
    format='' node='' serial='' expires='' when='' from='' confirm='' payload='' programs='' source='' wrong=''
    each_line "$(sed '/^$/,$d' <"$run/signed")" read_field || return 1
    for field in "$format" "$node" "$serial" "$expires" "$when" "$from" "$confirm" "$payload"; do
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
    confirm) before=$confirm confirm=$value && is_number "$value" || return 1 ;;
    payload) before=$payload payload=$value ;;
    programs) before=$programs programs=$value ;;
    source) before=$source source=$value ;;
    *) return 1 ;;
    esac
    case $value in '' | *[!A-Za-z0-9.,:/_~%-]*) return 1 ;; esac
    [ -z "$before" ]
}

# is_number TEXT: of at most 16 digits, which every shell can reckon with.
is_number() {
    case $1 in '' | 0?* | *[!0-9]* | ?????????????????*) return 1 ;; esac
}
