#!/bin/sh
# Installs the Debian packages that the tests on a real cluster and on real databases need, and no other; quiet and quick when all are there.
# It does nothing where it cannot (not root, no apt): the tests then skip and say why. No service is started.
set -eu

packages="mariadb-client mariadb-server munge passwd postgresql prometheus python3 slurm-client slurmctld slurmd slurmdbd slurmrestd util-linux"

absent=""
for package in $packages; do
    status=$(dpkg-query --show --showformat='${db:Status-Status}' "$package" 2>/dev/null || true)
    [ "$status" = installed ] || absent="$absent $package"
done
[ -n "$absent" ] || exit 0

if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
    echo "tests: cannot install$absent: needs root and apt-get" >&2
    exit 0
fi

# Debian's packages ask this script before they start a service; 101 means no.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ] && [ ! -L "$policy" ]; then
    trap 'rm -f "$policy"' EXIT
    trap 'exit 1' HUP INT TERM
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
fi

echo "tests: installing$absent"
export DEBIAN_FRONTEND=noninteractive
log=$(mktemp)
# shellcheck disable=SC2086 # a list of words
if ! { apt-get update && apt-get install --yes --no-install-recommends $absent; } >"$log" 2>&1; then
    tail -n 20 "$log" >&2
    echo "tests: the installation failed; its output is in $log" >&2
    exit 1
fi
rm -f "$log"
