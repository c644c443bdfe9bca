#!/bin/sh
# The rest of a boot.
cd /home/minerstat/minerstat-os || exit
sudo sh bin/jobs.sh
screen -dmS listener sudo sh core/init.sh
screen -dmS minerstat-console sudo /home/minerstat/minerstat-os/launcher.sh
# What was just started is hung up with this screen unless it has left it.
sleep 2
