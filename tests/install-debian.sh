#!/bin/sh
# Installs the Debian packages that the tests on the hooks, a real cluster, real databases, LaTeX, shells, and on pages as a
# browser and a printer show them need, and no other; quiet and quick when all are there.
# Where it cannot (not root, no apt, no network) it says so and ends well: the tests then skip, and say why.
# No service is started.
set -eu

packages="chromium fish fonts-dejavu-core fonts-liberation groff-base libpango-1.0-0 libpangoft2-1.0-0 logrotate mandoc mariadb-client mariadb-server munge openssl passwd poppler-utils postgresql prometheus python3 slurm-client slurmctld slurmd slurmdbd slurmrestd strace texlive-latex-base util-linux zsh"

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
if { apt-get update && apt-get install --yes --no-install-recommends $absent; } >"$log" 2>&1; then
    rm -f "$log"
else
    tail -n 5 "$log" >&2
    echo "tests: could not install$absent; what apt-get said is in $log" >&2
fi
