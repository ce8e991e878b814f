//! MariaDB as a source and as a target; what the tests do stands in `mysql_family` and its neighbours.

use wavemark_tests::mariadb::Installed;

use crate::mysql_failover as failover;
use crate::mysql_family as family;
use crate::mysql_schema as schema;
use crate::mysql_tables as tables;
use crate::mysql_target as target;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_value_is_loaded_as_it_is() {
    family::every_value_is_loaded_as_it_is::<Installed>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_value_that_postgresql_does_not_have_parks_its_table_alone_and_by_name() {
    family::a_value_that_postgresql_does_not_have_parks_its_table_alone_and_by_name::<Installed>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_load_in_many_chunks_with_writers_beside_is_the_source_as_of_one_moment() {
    family::a_load_in_many_chunks_with_writers_beside_is_the_source_as_of_one_moment::<Installed>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_change_of_the_log_comes_as_it_is() {
    family::every_change_of_the_log_comes_as_it_is::<Installed>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_compressed_log_is_followed() {
    family::a_compressed_log_is_followed::<Installed>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_that_is_altered_is_parked_alone() {
    family::a_table_that_is_altered_is_parked_alone::<Installed>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_doubled_or_torn_while_worker_source_and_target_are_killed() {
    family::nothing_is_lost_doubled_or_torn_while_worker_source_and_target_are_killed::<Installed>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_load_that_is_killed_goes_on_by_what_the_log_touched() {
    family::a_load_that_is_killed_goes_on_by_what_the_log_touched::<Installed>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_defaults_and_counters_are_carried_over() {
    family::keys_defaults_and_counters_are_carried_over::<Installed>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_that_act_are_followed_or_refused() {
    family::keys_that_act_are_followed_or_refused::<Installed>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn foreign_keys_that_act_are_carried_over_by_a_load() {
    family::foreign_keys_that_act_are_carried_over_by_a_load::<Installed>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tables_are_altered_as_at_the_source_while_workers_die() {
    schema::tables_are_altered_as_at_the_source_while_workers_die::<Installed>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_altered_while_a_task_stood_still_is_taken_up_when_it_goes_on() {
    schema::what_was_altered_while_a_task_stood_still_is_taken_up_when_it_goes_on::<Installed>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_exact_is_parked_or_loaded_again() {
    schema::what_is_not_exact_is_parked_or_loaded_again::<Installed>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_online_schema_change_is_told_and_loaded_again() {
    schema::an_online_schema_change_is_told_and_loaded_again::<Installed>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_is_followed_under_its_next_name() {
    schema::a_table_is_followed_under_its_next_name::<Installed>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn columns_that_are_to_be_ignored_stay_out() {
    schema::columns_that_are_to_be_ignored_stay_out::<Installed>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tables_are_altered_while_they_are_loaded() {
    schema::tables_are_altered_while_they_are_loaded::<Installed>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_alteration_is_done_once_where_nobody_writes() {
    schema::an_alteration_is_done_once_where_nobody_writes::<Installed>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_parked_table_is_loaded_again_beside_the_others() {
    tables::a_parked_table_is_loaded_again_beside_the_others::<Installed>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_that_comes_is_taken_up() {
    tables::a_table_that_comes_is_taken_up::<Installed>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_that_is_dropped_goes_as_the_task_says() {
    tables::a_table_that_is_dropped_goes_as_the_task_says::<Installed>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_endpoint_lacks_is_named_with_its_cure() {
    tables::what_an_endpoint_lacks_is_named_with_its_cure::<Installed>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_value_goes_to_a_server_of_its_kind() {
    target::every_value_goes_to_a_server_of_its_kind::<Installed>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_doubled_or_torn_on_its_way_to_one_of_its_kind() {
    target::nothing_is_lost_doubled_or_torn_on_its_way_to_one_of_its_kind::<Installed>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_transactions_go_by_sets() {
    target::large_transactions_go_by_sets::<Installed>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_that_is_deleted_leaves_nothing_but_the_rows() {
    target::a_task_that_is_deleted_leaves_nothing_but_the_rows::<Installed>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_value_comes_from_postgresql() {
    target::every_value_comes_from_postgresql::<Installed>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_doubled_or_torn_on_its_way_from_postgresql() {
    target::nothing_is_lost_doubled_or_torn_on_its_way_from_postgresql::<Installed>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_that_is_too_large_parks_its_table() {
    target::a_row_that_is_too_large_parks_its_table::<Installed>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_at_every_point_is_survived() {
    target::a_crash_at_every_point_is_survived::<Installed>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tables_of_a_target_are_altered_while_workers_die() {
    target::tables_of_a_target_are_altered_while_workers_die::<Installed>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_goes_on_at_the_server_that_took_over() {
    failover::a_task_goes_on_at_the_server_that_took_over::<Installed>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_lacks_what_the_target_has_is_waited_for_or_refused() {
    failover::a_server_that_lacks_what_the_target_has_is_waited_for_or_refused::<Installed>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_was_begun_anew_is_noticed() {
    failover::a_log_that_was_begun_anew_is_noticed::<Installed>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn prepared_transactions_count_where_they_are_committed() {
    family::prepared_transactions_count_where_they_are_committed::<Installed>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_carried_over_and_a_log_that_is_kept_short_are_told() {
    tables::what_is_not_carried_over_and_a_log_that_is_kept_short_are_told::<Installed>().await;
}
