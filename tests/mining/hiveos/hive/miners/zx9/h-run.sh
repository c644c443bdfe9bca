#!/bin/sh
exec /hive/miners/zx9/zx9 86400
