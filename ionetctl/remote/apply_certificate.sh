# The apply's part on a private key that is made here: a request leaves the host, a certificate comes back.
# Functions only, called by apply.sh, which sets the paths.
# shellcheck shell=sh disable=SC2034,SC2154

# obtain_certificate MODE OWNER KEY MODE OWNER CERTIFICATE: both become files to be installed like those that came along.
obtain_certificate() {
    begin certificate
    try apply_failed make_key
    request=$(sed "/^-/d" f/request | tr -d '\n')
    await "certificate$tab$request"
    case $answer in
    'certificate '*[!A-Za-z0-9+/=,\ -]*) fail certificate_mismatch 'what came is no certificate' ;;
    'certificate '?*) ;;
    *) fail abandoned 'the controller gave up, or is gone; nothing was changed' ;;
    esac
    printf '%s\n' "${answer#* }" | tr ',' '\n' >f/certificate
    if ! is_of_key; then fail certificate_mismatch "the certificate is not of the key that was made here"; fi
    digests=$(sha256sum f/key f/certificate)
    steps=$steps${nl}file${tab}key$tab${digests%% *}$tab$1$tab$2$tab$3
    digests=${digests#*"$nl"}
    steps=$steps${nl}file${tab}certificate$tab${digests%% *}$tab$4$tab$5$tab$6
}

# make_key: and a request for its certificate, whose name does not count. Options that openssl has since 1.0.1; an old one
# writes random bytes to a file in the home directory, unless that is another.
make_key() {
    export RANDFILE="$stage/random"
    printf '[req]\ndistinguished_name=name\n[name]\n' >request.cnf
    within 60 openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -pkeyopt ec_param_enc:named_curve -out f/key &&
        within 60 openssl req -new -sha256 -config request.cnf -key f/key -subj /CN=node -out f/request
}

# is_of_key: the certificate is of the public key that the private key has.
is_of_key() {
    certified=$(within 60 openssl x509 -in f/certificate -noout -pubkey 2>/dev/null) || return
    made=$(within 60 openssl pkey -in f/key -pubout 2>/dev/null) || return
    [ "$certified" = "$made" ]
}
