//! The short form of the fault suite, a test a scenario: see `docs/faults.md`. The full form is `cargo run --release -p tidings-faults`.

use tidings_faults::{SCENARIOS, demand, program_under_test};

macro_rules! short_form_of {
    ($($name:ident),+ $(,)?) => {
        $(
            #[test]
            fn $name() {
                program_under_test(env!("CARGO_BIN_EXE_tidings"));
                demand(stringify!($name));
            }
        )+

        #[test]
        fn every_scenario_has_its_short_form_here() {
            let tested = [$(stringify!($name)),+];
            let missing: Vec<_> = SCENARIOS.iter().map(|scenario| scenario.name).filter(|name| !tested.contains(name)).collect();
            assert!(missing.is_empty(), "{missing:?} are not tested");
        }
    };
}

short_form_of!(
    certificate_rolls_over,
    clock_steps,
    cut_at_every_byte,
    dead_relay_returns,
    disk_full,
    disk_nearly_full,
    greylisting,
    next_relay_takes_over,
    nodes_backends_killed,
    nodes_killed,
    nodes_pool_exhausted,
    nodes_primary_restarts,
    nodes_standby_promoted,
    nodes_stopped,
    outage_of_a_day,
    poison_letter,
    postfix_restarts_under_load,
    quota_spent,
    relay_cut_off_under_load,
    relay_stops_under_load,
    sigkill_loop,
    sign_in_refused,
    slow_loris,
    smtp_sink_switches,
    some_recipients_refused,
    starttls_tampered,
    token_endpoint,
    too_many_sessions,
    two_relays_one_dead,
    wrong_replies,
);
