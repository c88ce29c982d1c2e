//! What every database must do, said once. Each test is a function on a house with an empty store; a database runs them all by two lines below.

#![allow(clippy::unwrap_used, reason = "a test that meets an error has failed")]

#[path = "../house/mod.rs"]
mod house;

mod accepting;
mod acting;
mod claiming;
mod clock;
mod digesting;
mod erasing;
mod fanning_out;
mod guarding;
mod looking_up;
mod markers;
mod mirror_model;
mod mirroring;
mod model;
mod nodes;
mod reading;
mod refreshing;
mod returning;
mod server;
mod settling;
mod slates;

/// The suite of the outbox.
macro_rules! outbox {
    ($run:ident, $($with:tt)*) => {
        $run! { $($with)*
            accepting::an_accepted_event_is_there_with_its_items,
            accepting::a_known_event_changes_nothing_and_names_the_first,
            accepting::the_second_of_two_in_a_batch_is_a_duplicate,
            accepting::the_same_id_of_another_source_is_another_event,
            accepting::many_callers_with_one_event_make_one,
            accepting::a_batch_is_written_whole_or_not_at_all,
            accepting::a_failing_batch_does_not_spoil_its_neighbours,
            accepting::an_event_without_items_is_kept_with_its_trace,
            accepting::a_trace_that_is_like_its_pattern_comes_back_as_it_was,
            accepting::arrivals_are_counted,
            claiming::higher_lanes_go_first_and_the_longest_due_first_within_a_lane,
            claiming::a_share_goes_to_the_lower_lane_that_has_been_due_longest,
            claiming::no_lane_starves_while_urgent_items_keep_coming,
            claiming::only_the_lanes_asked_for_are_given,
            claiming::a_relay_that_takes_over_gets_no_secrets,
            claiming::what_ends_with_the_relay_that_took_over_is_listed_under_it,
            claiming::what_is_not_yet_due_or_of_another_relay_stays,
            claiming::a_claimed_item_is_hidden_from_others,
            claiming::a_claim_carries_all_that_delivery_needs,
            claiming::a_lapsed_lease_is_due_again_and_marked,
            claiming::a_claim_stops_at_its_bytes_but_gives_at_least_one,
            claiming::a_lease_can_be_prolonged_by_its_holder_only,
            claiming::a_node_that_starts_anew_gets_its_items_back,
            claiming::a_paused_relay_gives_nothing,
            claiming::many_claimers_never_share_an_item,
            claiming::an_item_born_claimed_is_settled_with_token_one,
            clock::what_was_accepted_while_the_clock_was_ahead_is_due_once_it_is_set_back,
            clock::a_step_back_changes_times_and_nothing_else,
            clock::a_small_correction_of_the_clock_moves_nothing,
            clock::each_step_back_is_mended,
            clock::more_items_than_a_step_are_all_mended,
            settling::each_outcome_is_written_with_its_history,
            settling::a_late_node_cannot_overwrite_its_successor,
            settling::a_settled_item_cannot_be_settled_again,
            settling::a_stale_settlement_does_not_spoil_the_others,
            settling::an_item_whose_life_time_is_over_expires,
            settling::a_lapsed_lease_past_its_life_time_expires,
            settling::expiring_goes_no_further_than_asked,
            acting::an_item_born_held_waits_for_its_release,
            acting::each_action_in_each_state,
            acting::an_action_goes_to_what_fits_and_names_who_did_it,
            acting::more_items_than_a_step_are_all_acted_on,
            acting::what_waits_can_wait_on,
            acting::what_waits_can_be_withheld,
            acting::more_items_than_a_step_wait_on,
            acting::a_cancelled_letter_can_be_taken_up_again,
            erasing::a_sensitive_letter_is_erased_with_its_last_copy,
            erasing::a_secret_is_never_shown,
            erasing::an_erased_letter_cannot_be_retried,
            erasing::an_expired_or_cancelled_secret_is_erased,
            fanning_out::a_crowd_is_written_down_with_its_event,
            fanning_out::open_crowds_come_oldest_first_and_no_more_than_asked,
            fanning_out::a_chunk_is_written_with_the_place_of_the_next,
            fanning_out::the_last_chunk_ends_it,
            fanning_out::a_chunk_that_comes_late_writes_nothing,
            fanning_out::of_many_who_write_one_chunk_one_does,
            fanning_out::who_has_a_letter_of_this_event_and_kind_gets_no_other,
            fanning_out::a_chunk_that_fails_changes_nothing,
            fanning_out::people_who_were_written_down_come_chunk_by_chunk,
            fanning_out::people_are_written_down_unless_a_chunk_came_between,
            fanning_out::a_crowd_that_is_too_many_is_held_from_its_first_chunk_on,
            fanning_out::what_its_event_told_others_is_held_with_a_crowd,
            fanning_out::a_crowd_goes_by_what_became_of_its_batch,
            fanning_out::a_crowd_of_a_rule_that_told_too_many_joins_its_batch,
            guarding::a_limit_is_the_most_that_goes,
            guarding::an_event_that_tells_too_many_is_held_whole,
            guarding::all_rules_of_a_large_event_go_into_one_batch,
            guarding::one_large_event_holds_no_small_one,
            guarding::what_nobody_may_switch_off_is_neither_held_nor_counted,
            guarding::an_event_told_twice_counts_once,
            guarding::an_hour_forgets_what_was_before_it,
            guarding::a_rule_that_tells_too_many_is_held_with_what_has_not_left,
            guarding::a_batch_takes_in_for_an_hour,
            guarding::a_flood_holds_what_was_named_before_its_first,
            guarding::many_floods_at_once_are_one_batch,
            guarding::batches_are_listed_by_state_and_by_what_is_untold,
            guarding::items_of_a_batch_come_by_recipient_in_pages,
            guarding::a_letter_that_must_not_be_read_comes_without_its_bytes,
            guarding::a_batch_is_let_go_once,
            guarding::a_cancelled_batch_takes_its_secrets_with_it,
            guarding::more_items_than_a_step_are_all_let_go,
            digesting::a_digest_takes_the_place_of_what_it_names,
            digesting::what_joins_while_digests_are_written_stays,
            digesting::a_digest_of_what_is_no_longer_held_is_not_written,
            digesting::a_digest_that_fails_cancels_nothing,
            digesting::a_batch_that_a_crowd_is_told_into_is_not_digested_yet,
            digesting::of_many_who_digest_one_item_one_does,
            digesting::an_end_that_was_broken_off_is_known_and_finished,
            guarding::what_an_operator_took_out_of_a_batch_stays_as_it_is,
            reading::a_listing_is_paged_newest_first,
            reading::each_filter_fits,
            reading::an_address_is_found_without_regard_to_case,
            reading::a_recipients_items_are_paged_newest_first,
            reading::a_page_tells_whether_there_is_more,
            reading::events_of_a_span_come_in_pages_each_once,
            reading::events_are_found_by_their_kind,
            reading::a_page_of_large_events_is_short,
            reading::an_event_accepted_after_the_clock_was_set_back_is_in_its_own_span,
            reading::depths_count_what_is_open,
            reading::relays_keep_what_is_said_of_them,
            nodes::a_node_joins_does_what_it_offers_and_leaves,
            nodes::a_node_that_starts_anew_takes_back_what_its_predecessor_had,
            nodes::what_is_no_longer_offered_is_not_done,
            slates::a_slate_is_written_over_by_who_has_read_it,
            slates::of_many_who_write_one_version_one_does,
            slates::a_stretch_of_names_is_forgotten,
            reading::tokens_are_found_by_their_digest,
            reading::names_go_on_above_the_highest,
            reading::an_unknown_name_is_nothing,
            returning::a_letter_that_came_back_is_bounced_with_the_reason,
            returning::a_report_is_taken_once,
            returning::only_what_was_sent_comes_back,
            returning::what_is_no_bounce_is_only_noted,
            returning::an_address_is_unhealthy_after_several_letters_came_back,
            returning::many_reports_at_once_make_an_address_unhealthy_once,
            returning::it_is_told_of_once,
            returning::an_address_becomes_healthy_again,
            returning::what_came_back_long_ago_does_not_count,
            returning::an_address_is_tried_again_after_its_rest,
            returning::reports_are_listed_and_the_old_ones_forgotten,
            model::any_sequence_of_verbs_does_what_the_model_does,
        }
    };
}

/// The suite of the mirror.
macro_rules! mirror {
    ($run:ident, $($with:tt)*) => {
        $run! { $($with)*
            mirroring::an_object_is_mirrored_whole,
            mirroring::a_change_raises_the_version_and_says_what_it_was,
            mirroring::links_are_told_by_what_is_added_removed_and_altered,
            mirroring::an_adjustment_tells_only_what_it_says,
            mirroring::a_name_that_nobody_bears_waits_for_its_object,
            mirroring::without_references_links_go_to_keys,
            mirroring::a_renamed_object_keeps_its_links,
            mirroring::two_who_swap_their_names_keep_their_links,
            mirroring::who_is_gone_leaves_all_that_linked_to_it,
            mirroring::a_departure_in_one_batch_is_told_once,
            mirroring::differences_of_several_comparisons_are_written_in_order,
            mirroring::what_is_made_anew_is_another_object,
            mirroring::what_has_moved_is_not_overwritten,
            mirroring::of_many_who_change_one_object_at_once_one_does,
            mirroring::mirror_bookmark_and_events_are_written_as_one,
            mirroring::managers_are_walked_up_and_a_circle_ends,
            mirroring::members_are_found_below_nested_groups_each_once,
            mirroring::objects_and_links_are_listed_by_pages,
            mirroring::groups_are_found_by_name_in_any_case,
            looking_up::a_portrait_shows_an_object_with_the_links_that_are_asked_for,
            looking_up::an_object_is_found_by_what_it_is_called_now,
            looking_up::one_that_goes_by_a_reference_is_not_looked_up_otherwise,
            looking_up::objects_of_a_type_come_in_pages_with_their_number,
            looking_up::links_to_certain_others_are_found_without_the_rest,
            markers::a_marker_is_noted_with_its_event_and_once,
            markers::many_who_find_one_marker_make_one_event,
            markers::a_marker_that_has_ended_may_be_noted_again,
            markers::what_is_known_of_a_marker_moves_on,
            markers::markers_are_listed_by_pages_and_by_object,
            markers::a_marker_knows_how_its_letters_stand,
            markers::an_event_without_letters_is_not_sent,
            refreshing::a_directory_is_made_when_it_is_first_heard_of,
            refreshing::a_load_can_be_done_again,
            refreshing::a_load_larger_than_a_transaction_is_whole,
            refreshing::a_refresh_finds_what_was_not_seen,
            refreshing::a_source_fails_and_works_again_once_each,
            refreshing::directories_do_not_know_each_other,
            mirror_model::comparing_and_recording_leads_where_a_load_leads,
        }
    };
}

/// Each test by itself.
macro_rules! apart {
    ($database:ident, $open:path; $($topic:ident :: $test:ident,)*) => {
        mod $database {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $test() {
                    crate::$topic::$test(&$open().await).await;
                }
            )*
        }
    };
}

/// All on one server, each in a database of its own.
macro_rules! on_one_server {
    ($suite:ident; $($topic:ident :: $test:ident,)*) => {
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $suite() {
            let mut suite = crate::server::Suite::start().await;
            $(
                suite.run(concat!(stringify!($topic), "::", stringify!($test)), |house| async move { crate::$topic::$test(&house).await });
            )*
            suite.end().await;
        }
    };
}

outbox!(apart, sqlite_outbox, crate::house::House::on_sqlite;);
mirror!(apart, sqlite_mirror, crate::house::House::on_sqlite;);

mod postgres {
    outbox!(on_one_server, outbox;);
    mirror!(on_one_server, mirror;);
}
