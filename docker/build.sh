#!/bin/sh
# Builds the image of each program, or of those named, from the bundles in dist/.
#   [BASE=image] [ENGINE=docker|buildah] docker/build.sh [controller|bait|starter|wnod]…
set -eu
cd "$(dirname "$0")/.."
node scripts/setup.mjs --for image
engine=${ENGINE:-}
if [ -z "$engine" ]; then
  if docker info > /dev/null 2>&1; then engine=docker; else engine=buildah; fi
fi
[ $# -gt 0 ] || set -- controller bait starter wnod
for program in "$@"; do
  echo "building wnod-$program with $engine"
  case $engine in
    docker) docker build --quiet ${BASE:+--build-arg "BASE=$BASE"} --file "docker/$program.Dockerfile" --tag "wnod-$program" . ;;
    # vfs and chroot need neither a kernel module nor a daemon nor namespaces
    buildah) buildah --storage-driver vfs bud --isolation chroot --quiet ${BASE:+--build-arg "BASE=$BASE"} --file "docker/$program.Dockerfile" --tag "wnod-$program" . ;;
    *) echo "docker/build.sh: ENGINE is docker or buildah, not $engine" >&2; exit 2 ;;
  esac
done
