#!/bin/sh
# Runs the miner for ever.
. /etc/fixture-seconds
while :; do
    /root/miner/zx9/zx9 86400
    echo 'Restarting miner in 10 seconds'
    sleep "$loop"
done
