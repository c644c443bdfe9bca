# The maintenance door's part on what the region says of this node. Functions only, called by maintenance.sh.
# shellcheck shell=sh disable=SC2034,SC2154

# Prints of a node's record, which comes as JSON after a header, what counts of it: a line with name, tab and value for each field of the record
# itself, of its Meta and of its LastDrain, a quotation mark before what is a text; and "whole" where nothing was cut off. A name in Meta
# may be any, so where something stands counts.
# shellcheck disable=SC2016 # it is awk's
fields_of='
function tell(value) {
    expects = 0
    if (depth == 1) print key[1] "\t" value
    else if (depth == 2 && (key[1] == "Meta" || key[1] == "LastDrain")) print key[1] "." key[2] "\t" value
}
is_body { text = text $0 }
/^\r?$/ { is_body = 1 }
END {
    gsub(/\\./, "", text)
    count = split(text, part, "\"")
    for (i = 1; i <= count; i++) {
        if (i % 2 == 0) {
            if (expects) tell("\"" part[i])
            else name = part[i]
            continue
        }
        for (j = 1; j <= length(part[i]); j++) {
            c = substr(part[i], j, 1)
            if (c == ":") {
                key[depth] = name
                expects = 1
            } else if (c == "{" || c == "[") {
                key[++depth] = ""
                expects = 0
            } else if (c == "," || c == "}" || c == "]") {
                if (expects && literal != "") tell(literal)
                expects = 0
                literal = ""
                if (c != ",") depth--
            } else if (c != " ") literal = literal c
        }
    }
    if (depth == 0 && count > 1) print "whole"
}'

# ask_node: $shown becomes those lines of the region's record of this node; else it fails, and $said says why. It asks through the
# agent, with the node's own secret, which goes through a pipe; and sends nothing to whoever does not have the very certificate of
# this node, though another node's is of the same authority.
ask_node() {
    secret='' shown='' said='the certificate of this node cannot be read'
    sed '/^-----END CERTIFICATE-----/q' <"$root$certificate" >|"$run/own.pem" || return 1
    { read -r secret <"$root$state_dir/secret-id" || :; } 2>/dev/null
    printf 'GET /v1/node/%s HTTP/1.0\r\nHost: localhost\r\nX-Nomad-Token: %s\r\n\r\n' "$(node_id)" "$secret" |
        within 15 openssl s_client -quiet -connect "$agent" -CAfile "$run/own.pem" -partial_chain -verify_return_error \
            2>|"$run/asked.said" | head -c "$record_bytes" >|"$run/asked" || :
    secret=''
    said=$(head -n 1 "$run/asked")$(tail -n 3 "$run/asked.said")
    case $said in 'HTTP/1.'[01]' 200 '*) ;; *) return 1 ;; esac
    shown=$nl$(awk "$fields_of" <"$run/asked")$nl || return 1
    said='the record did not come whole'
    case $shown in *"${nl}whole$nl") is_shown ID "\"$(node_id)" ;; *) return 1 ;; esac
}

# is_shown NAME VALUE
is_shown() {
    case $shown in *"$nl$1$tab$2$nl"*) ;; *) return 1 ;; esac
}

# is_when CONDITION: by what the region says of this node now.
is_when() {
    if [ "$1" = any ]; then return 0; fi
    if ! ask_node; then
        wrong="the region was not heard: $(flat "$said")"
    elif ! is_shown SchedulingEligibility '"ineligible'; then
        wrong='the node is not ineligible'
    elif [ "$1" = ineligible ]; then
        return 0
    elif ! is_shown DrainStrategy null; then
        wrong='the node is being drained'
    elif ! is_shown LastDrain.Status '"complete'; then
        wrong='the node has not been drained'
    else
        return 0
    fi
    return 1
}

# is_confirmed: the region shows the node ready with the configuration that lies here now, within the time that the word gives.
is_confirmed() {
    wanted=$(stamp)
    read_clock
    give_up=$((now + confirm * 100))
    while :; do
        if ask_node && is_shown Meta.unique.ionet_bundle "\"$wanted" && is_shown Status '"ready'; then return 0; fi
        read_clock
        if [ "$now" -ge "$give_up" ]; then return 1; fi
        sleep "$poll_s"
    done
}
