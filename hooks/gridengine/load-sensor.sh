#!/bin/sh
# What this host has room for: the load sensor of `wnod install gridengine --resources`, which Grid Engine's execd keeps and asks by a line at a time.
. "${0%/*}/settings.sh"
hook resources --format sge 2>/dev/null
