#!/bin/sh
# Listens to the panel.
while sleep 1; do :; done
