#!/bin/sh
# Commands of the system that tests use: installs the missing ones where it may, else says which.
#
# Debian's and Ubuntu's apt-get, as root. Anywhere else the tests that need a missing command skip and say so.
set -eu
PATH=$PATH:/usr/sbin:/sbin

# command:package
wanted="
ip:iproute2
nft:nftables
tmux:tmux
chromium:chromium
turnserver:coturn
"

packages=
for pair in $wanted; do
    command -v "${pair%%:*}" >/dev/null 2>&1 || packages="$packages ${pair#*:}"
done
[ -n "$packages" ] || exit 0

if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null 2>&1; then
    echo "== system packages: not installed:$packages (tests that need them skip)"
    exit 0
fi

echo "== system packages: installing$packages"
export DEBIAN_FRONTEND=noninteractive
log=$(mktemp)
trap 'rm -f "$log"' EXIT
# shellcheck disable=SC2086  # one word a package
if { apt-get update && apt-get install --yes --no-install-recommends $packages; } >"$log" 2>&1; then
    case $packages in *coturn*) # its package would have it serve strangers from now on
        ! command -v systemctl >/dev/null 2>&1 || systemctl --quiet disable --now coturn >/dev/null 2>&1 || true ;;
    esac
    exit 0
fi
tail -n 20 "$log" >&2
echo "== system packages: apt-get could not install:$packages (see above)" >&2
[ -z "${CI:-}" ] || exit 1
