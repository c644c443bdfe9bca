#!/bin/sh
# Looks for the card, and has it fed from then on.
if ! [ -e /etc/fixture-card ]; then exit 1; fi
pkill -x watchdoginua
. /etc/fixture-seconds
nohup "${0%/*}/watchdoginua" "$card" >/dev/null 2>&1 &
