#!/bin/sh
# Installs the named Debian packages without starting any daemon that comes with them. Run as root by scripts/setup.mjs.
set -eu
export DEBIAN_FRONTEND=noninteractive
policy=/usr/sbin/policy-rc.d
mark='# made by wnod setup: no daemon starts while packages are installed'

# policy-rc.d(8): invoke-rc.d starts nothing while this says 101. An administrator's own one is kept and put back; ours,
# left by a run that was killed, is recognised by its mark.
restore() {
  if [ -e "$policy" ] && grep -qF "$mark" "$policy"; then rm -f "$policy"; fi
  if [ -e "$policy.wnod-kept" ]; then mv -f "$policy.wnod-kept" "$policy"; fi
}
restore
trap restore EXIT
trap 'exit 130' INT TERM HUP
if [ -e "$policy" ]; then mv "$policy" "$policy.wnod-kept"; fi
printf '#!/bin/sh\n%s\nexit 101\n' "$mark" > "$policy"
chmod 755 "$policy"

# The lock of dpkg has a timeout of its own; that of the package lists has none, so we take turns.
apt() { apt-get -q -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3 "$@"; }
update() {
  tries=0
  until apt update; do
    tries=$((tries + 1))
    [ "$tries" -lt 5 ] || return 1
    echo "apt-get update failed; trying again"
    sleep "$tries"
  done
}
install() { apt install --yes --no-install-recommends -- "$@"; }

# Grid Engine's packages would set up a cluster in /var/lib/gridengine, which nothing of ours uses.
case " $*" in
  *" gridengine-"*) echo 'gridengine-common shared/gridengineconfig boolean false' | debconf-set-selections ;;
esac

if ls /var/lib/apt/lists/*_Packages* >/dev/null 2>&1; then
  install "$@" && exit 0   # lists that are too old end in 404s: renew them and try once more
fi
update
install "$@"
