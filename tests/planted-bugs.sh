#!/bin/sh
# Plants one bug after another and demands that the test named beside it fails with it, and passes without.
#
#   tests/planted-bugs.sh [--sample N]     N: only the first N
set -eu
cd "$(dirname "$0")/.."

# bug, test
bugs='
no-uid-check                  misfortune::people::a_pod_of_the_same_name_with_a_new_uid_is_not_killed
uncordon-all                  misfortune::people::only_the_node_that_was_drained_is_uncordoned
before-image-ignored          misfortune::effects::what_was_there_before_is_put_back
missing-counts-as-within      misfortune::metrics::metrics_that_say_nothing_during_the_run_make_it_inconclusive
effect-not-observed           misfortune::effects::an_effect_that_nothing_shows_is_never_a_pass
reverts-what-others-changed   misfortune::people::a_deployment_scaled_by_someone_else_during_the_run_is_left_alone
lower-epoch-accepted          misfortune::owners::a_lower_epoch_cannot_write_into_a_journal
intent-not-durable            crash::a_run_killed_at_any_call_is_put_back_from_its_journal
scar-in-a-second-patch        crash::a_run_killed_at_any_call_is_put_back_from_scars_alone
torn-tail-not-cut             crash::a_journal_torn_at_any_record_puts_everything_back
abort-waits                   misfortune::owners::an_abort_preempts_an_injection_in_flight
taken-slots-not-counted       misfortune::budgets::evictions_use_all_the_room_of_their_budget_and_never_ask_for_more
limits-rounded-up             misfortune::effects::limits_round_down
fence-not-checked             misfortune::owners::a_runner_that_cannot_renew_its_lease_changes_nothing_past_its_deadline
zone-emptied-while-open       misfortune::zones::every_node_of_a_zone_is_closed_before_the_first_pod_goes
agents-stay                   misfortune::agents::agents_are_ready_before_baseline_and_gone_after_the_run
prepared-from-the-past        misfortune::slow::a_step_is_not_prepared_from_a_time_before_what_the_last_one_has_changed
lease-freshness-ignored       misfortune::owners::of_two_runs_that_begin_at_once_one_is_refused
'

sample=1000
if [ "${1:-}" = --sample ]; then
    sample=$2
fi

# The cfg is for our own crate only: what it depends on, and the ordinary build, stay as they are.
target=${CARGO_TARGET_DIR:-target}
mkdir -p "$target/planted"
printf '#!/bin/sh\nexec "$@" --cfg firedrill_bugs\n' > "$target/planted/rustc"
chmod +x "$target/planted/rustc"
RUSTC_WORKSPACE_WRAPPER=$(realpath "$target/planted/rustc")
export RUSTC_WORKSPACE_WRAPPER
cargo test --quiet --test all --no-run
binary=$(cargo test --test all --no-run --message-format=json 2>/dev/null |
    sed -n 's/.*"executable":"\([^"]*\/all-[^"]*\)".*/\1/p' | tail -n 1)
[ -x "$binary" ] || { echo "no test binary" >&2; exit 1; }

# Whether the one test passes; another outcome than a pass or a failure ends the script.
passes() {
    output=$(FIREDRILL_BUG=$1 RUST_BACKTRACE=0 timeout 300 "$binary" --exact "$2" 2>&1) && status=0 || status=$?
    case $output in
    *"running 1 test"*) ;;
    *) echo "there is no test $2" >&2; exit 1 ;;
    esac
    [ "$status" -eq 0 ]
}

wrong=0
count=0
printf '%-28s %-10s %-10s %s\n' BUG 'WITH IT' WITHOUT TEST
while read -r bug test; do
    [ -n "$bug" ] || continue
    count=$((count + 1))
    [ "$count" -le "$sample" ] || break
    if passes "$bug" "$test"; then with=passes; wrong=1; else with=fails; fi
    if passes '' "$test"; then without=passes; else without=fails; wrong=1; fi
    printf '%-28s %-10s %-10s %s\n' "$bug" "$with" "$without" "$test"
done <<END
$bugs
END
exit "$wrong"
