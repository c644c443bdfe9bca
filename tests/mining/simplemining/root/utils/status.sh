#!/bin/sh
# Tells the panel how it goes.
while sleep 1; do :; done
