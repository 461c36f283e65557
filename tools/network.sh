#!/bin/bash
# Runs t/network/ in a network namespace of its own, whose addresses and names are made here. As root.
#
#   tools/network.sh debian|source|asan|newest
set -euo pipefail
cd "$(dirname "$0")/.."

if [ "${AUTHGEAR_TEST_NETWORK:-}" != inside ]; then
    if [ "$(id -u)" != 0 ]; then
        echo "make test-network makes network namespaces, so it needs root" >&2
        exit 1
    fi
    AUTHGEAR_TEST_NETWORK=inside exec unshare --net --mount "$0" "$@"
fi

ip link set lo up
# Without ARP whatever is sent to others on this device is lost, as behind a firewall that drops packets.
ip link add dead arp off type veth peer name sink
ip link set dead up
ip link set sink up
ip address add 198.51.100.1/24 dev dead
ip address add 169.254.1.1/16 dev dead
ip address add 2001:db8::1/64 dev dead nodad

# The system's resolver sorts link-local addresses first (RFC 6724, rule 8), so the dead ones come before.
hosts=$(mktemp)
resolv=$(mktemp)
trap 'rm -f "$hosts" "$resolv"' EXIT
cat >"$hosts" <<'HOSTS'
127.0.0.1 localhost
169.254.1.2 one-of-five.test dead.test
169.254.1.3 one-of-five.test dead.test
169.254.1.4 one-of-five.test
169.254.1.5 one-of-five.test
198.51.100.1 one-of-five.test ipv4.test mixed.test xn--bcher-kva.test dotted.test
127.0.0.1 dotted-tls.test
2001:db8::1 ipv6.test
2001:db8::2 mixed.test
HOSTS
# A name with a dot at its end is in no file: the DNS server that the test starts says it.
echo 'nameserver 127.0.0.1' >"$resolv"
chmod 644 "$hosts" "$resolv"
mount --bind "$hosts" /etc/hosts
mount --bind "$resolv" /etc/resolv.conf

tools/suite.sh "$1" t/network/*.t
