# The end of a program that surveys a host and then probes its GPUs, so that a host is asked once. Before it come the survey, which has
# run, and the functions of programs.sh and probe.sh; $1 is the nonce of both. Set are $gpus, promised or possible, and
# $program, what python3 is to run. Where no GPUs are promised, and none is on the bus, there is nothing to ask.
# shellcheck shell=sh disable=SC2154
if [ "$gpus" = possible ]; then devices_on_bus; fi
if [ "$gpus.${count:-}" != possible.0 ]; then
    read_clock
    began=$now
    printf '%s' "$program" | probe "$1"
    read_clock
    fact ionet-probed "$1" $((now - began))
fi
