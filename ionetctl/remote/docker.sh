# What survey and preparations ask of Docker. Functions only.
# shellcheck shell=sh

# is_podman: whether the program called docker is Podman's stand-in for it.
is_podman() {
    case $(within 5 docker --version 2>&1) in *[Pp]odman*) return 0 ;; *) return 1 ;; esac
}
