#!/bin/sh
# Starts the miner outside of the screen's own processes, as a terminal multiplexer's server does.
setsid -f /home/minerstat/minerstat-os/mine-loop </dev/null >/dev/null 2>&1
exec sleep 86400
