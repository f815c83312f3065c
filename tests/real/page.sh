#!/usr/bin/env bash
# Opens the HTML reports of the demo's rehearsals in a real browser without a network: no console message, no
# request. Needs Chromium (Debian: chromium); CHROMIUM names another. Usage: tests/real/page.sh [FIREDRILL]
set -euo pipefail
cd "$(dirname "$0")/../.."
firedrill=${1:-target/release/firedrill}
browser=${CHROMIUM:-$(command -v chromium chromium-browser google-chrome | head -n 1)} || true
[[ -x $firedrill ]] || { echo "there is no $firedrill: cargo build --release" >&2; exit 2; }
[[ -n $browser ]] || { echo "there is no Chromium: apt-get install chromium" >&2; exit 2; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# Says what the page at $1 logs and asks for; nothing is good.
complaints() {
  rm -f "$work/net.json"
  timeout 60 "$browser" --headless=new --no-sandbox --disable-gpu --no-first-run --user-data-dir="$work/profile" \
    --disable-background-networking --disable-component-update --disable-sync --disable-extensions \
    --host-resolver-rules='MAP * ~NOTFOUND' --log-net-log="$work/net.json" --enable-logging=stderr --v=0 \
    --dump-dom "file://$1" >"$work/dom.html" 2>"$work/log"
  grep -o 'CONSOLE.*' "$work/log" || true
  # The browser's own calls home come from no page; whatever a page asks for names its initiator.
  grep -oE '"initiator":"[^"]*".{0,400}"url":"(https?|wss?)://[^"]*"' "$work/net.json" | grep -v '"initiator":"not an origin"' || true
  grep -q '</html>' "$work/dom.html" || echo "the page is not read to its end"
}

# A page that does wrong is found out, or the rest proves nothing.
echo '<!doctype html><html><body><img src="http://example.com/x.png"><script>console.error("loud")</script></body></html>' >"$work/bad.html"
found=$(complaints "$work/bad.html")
[[ $found == *loud* && $found == *example.com* ]] || { echo "a bad page is not found out: $found" >&2; exit 1; }

export FIREDRILL_STATE="$work/state"
"$firedrill" rehearse experiments --seed 7 --keep-going --report "$work/all.html" >/dev/null 2>&1 || true
for experiment in checkout-survives-pod-loss scale-below-need drain-that-can-never-finish; do
  "$firedrill" rehearse "experiments/$experiment.yaml" --seed 7 --report "$work/$experiment.html" >/dev/null 2>&1 || true
done
for page in "$work"/{all,checkout-survives-pod-loss,scale-below-need,drain-that-can-never-finish}.html; do
  found=$(complaints "$page")
  [[ -z $found ]] || { echo "$(basename "$page"): $found" >&2; exit 1; }
  echo "$(basename "$page"): $(wc -c <"$page") bytes, no console message, no request"
done
