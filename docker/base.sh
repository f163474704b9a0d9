#!/bin/sh
# Makes a base image without any registry: Debian 12 by mmdebstrap, with the node of this machine. Prints nothing but its progress.
#   docker/base.sh NAME [PACKAGE…]
set -eu
name=${1:?usage: docker/base.sh NAME [PACKAGE…]}
shift
include=$(printf '%s,' libstdc++6 "$@")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mmdebstrap --quiet --variant=minbase --include="${include%,}" \
  --dpkgopt=force-unsafe-io --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
  bookworm "$work/base.tar"
node=$(node -p process.execPath)
buildah() { command buildah --storage-driver vfs "$@"; }
container=$(buildah from scratch)
buildah add --quiet "$container" "$work/base.tar" / > /dev/null
buildah copy --quiet "$container" "$node" /usr/local/bin/node > /dev/null
buildah config --env PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "$container"
buildah commit --quiet --rm "$container" "$name" > /dev/null
