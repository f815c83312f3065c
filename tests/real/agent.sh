#!/usr/bin/env bash
# The agent as a process, in network namespaces that the tests make themselves.
#
#   tests/real/agent.sh            every test
#   tests/real/agent.sh FILTER     those whose name contains it
#   tests/real/agent.sh bench      its figures, beside their targets
#   tests/real/agent.sh fuzz       the wire, with many cases
#
# Root, iproute2, nftables, iptables. FIREDRILL_AGENT names another binary of the agent, for example the static
# one of an image; FIREDRILL_LOG=1 shows the agents' logs.
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/../.."

case ${1-} in
  bench) exec cargo bench --locked --no-default-features --bench agent ;;
  fuzz) PROPTEST_CASES=${CASES:-200000} exec cargo test --release --locked --no-default-features --lib agent ;;
esac
((EUID == 0)) || { echo "tests/real/agent.sh needs root" >&2; exit 1; }
for tool in ip tc nft iptables-nft-save ip6tables-nft-save; do
  command -v "$tool" >/dev/null || { echo "$tool is missing: apt-get install iproute2 nftables iptables" >&2; exit 1; }
done
# One after another: they measure.
exec cargo test --locked --no-default-features --test agent -- --include-ignored --test-threads 1 "$@"
