//! MySQL as a source and as a target, by `make test-mysql`; what the tests do stands in `mysql_family` and its neighbours.

use wavemark_tests::mariadb::Installed;
use wavemark_tests::mysql::{Unpacked, WithKeyring};
use wavemark_tests::system::Kind;

use crate::faults;
use crate::mysql_begin as begin;
use crate::mysql_charsets as charsets;
use crate::mysql_exact as exact;
use crate::mysql_failover as failover;
use crate::mysql_family as family;
use crate::mysql_left as left;
use crate::mysql_log as log;
use crate::mysql_logins as logins;
use crate::mysql_schema as schema;
use crate::mysql_statements as statements;
use crate::mysql_sysbench as sysbench;
use crate::mysql_tables as tables;
use crate::mysql_target as target;
use crate::mysql_types as types;
use crate::{unfit_in_family, unfit_in_postgresql};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "wants MySQL 9: make test-mysql"]
async fn every_value_is_loaded_as_it_is() {
    family::every_value_is_loaded_as_it_is::<Unpacked>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "wants MySQL 9: make test-mysql"]
async fn a_value_that_postgresql_does_not_have_parks_its_table_alone_and_by_name() {
    family::a_value_that_postgresql_does_not_have_parks_its_table_alone_and_by_name::<Unpacked>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "wants MySQL 9: make test-mysql"]
async fn a_load_in_many_chunks_with_writers_beside_is_the_source_as_of_one_moment() {
    family::a_load_in_many_chunks_with_writers_beside_is_the_source_as_of_one_moment::<Unpacked>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "wants MySQL 9: make test-mysql"]
async fn every_change_of_the_log_comes_as_it_is() {
    family::every_change_of_the_log_comes_as_it_is::<Unpacked>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "wants MySQL 9: make test-mysql"]
async fn a_compressed_log_is_followed() {
    family::a_compressed_log_is_followed::<Unpacked>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "wants MySQL 9: make test-mysql"]
async fn a_table_that_is_altered_is_parked_alone() {
    family::a_table_that_is_altered_is_parked_alone::<Unpacked>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "wants MySQL 9: make test-mysql"]
async fn nothing_is_lost_doubled_or_torn_while_worker_source_and_target_are_killed() {
    family::nothing_is_lost_doubled_or_torn_while_worker_source_and_target_are_killed::<Unpacked>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "wants MySQL 9: make test-mysql"]
async fn a_load_that_is_killed_goes_on_by_what_the_log_touched() {
    family::a_load_that_is_killed_goes_on_by_what_the_log_touched::<Unpacked>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "wants MySQL 9: make test-mysql"]
async fn keys_defaults_and_counters_are_carried_over() {
    family::keys_defaults_and_counters_are_carried_over::<Unpacked>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "wants MySQL 9: make test-mysql"]
async fn keys_that_act_are_followed_or_refused() {
    family::keys_that_act_are_followed_or_refused::<Unpacked>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "wants MySQL 9: make test-mysql"]
async fn foreign_keys_that_act_are_carried_over_by_a_load() {
    family::foreign_keys_that_act_are_carried_over_by_a_load::<Unpacked>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "wants MySQL 9: make test-mysql"]
async fn tables_are_altered_as_at_the_source_while_workers_die() {
    schema::tables_are_altered_as_at_the_source_while_workers_die::<Unpacked>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "wants MySQL 9: make test-mysql"]
async fn what_was_altered_while_a_task_stood_still_is_taken_up_when_it_goes_on() {
    schema::what_was_altered_while_a_task_stood_still_is_taken_up_when_it_goes_on::<Unpacked>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "wants MySQL 9: make test-mysql"]
async fn what_is_not_exact_is_parked_or_loaded_again() {
    schema::what_is_not_exact_is_parked_or_loaded_again::<Unpacked>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "wants MySQL 9: make test-mysql"]
async fn an_online_schema_change_is_told_and_loaded_again() {
    schema::an_online_schema_change_is_told_and_loaded_again::<Unpacked>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "wants MySQL 9: make test-mysql"]
async fn a_table_is_followed_under_its_next_name() {
    schema::a_table_is_followed_under_its_next_name::<Unpacked>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "wants MySQL 9: make test-mysql"]
async fn columns_that_are_to_be_ignored_stay_out() {
    schema::columns_that_are_to_be_ignored_stay_out::<Unpacked>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "wants MySQL 9: make test-mysql"]
async fn tables_are_altered_while_they_are_loaded() {
    schema::tables_are_altered_while_they_are_loaded::<Unpacked>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "wants MySQL 9: make test-mysql"]
async fn an_alteration_is_done_once_where_nobody_writes() {
    schema::an_alteration_is_done_once_where_nobody_writes::<Unpacked>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "wants MySQL 9: make test-mysql"]
async fn a_parked_table_is_loaded_again_beside_the_others() {
    tables::a_parked_table_is_loaded_again_beside_the_others::<Unpacked>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "wants MySQL 9: make test-mysql"]
async fn a_table_that_comes_is_taken_up() {
    tables::a_table_that_comes_is_taken_up::<Unpacked>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "wants MySQL 9: make test-mysql"]
async fn a_table_that_is_dropped_goes_as_the_task_says() {
    tables::a_table_that_is_dropped_goes_as_the_task_says::<Unpacked>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "wants MySQL 9: make test-mysql"]
async fn what_an_endpoint_lacks_is_named_with_its_cure() {
    tables::what_an_endpoint_lacks_is_named_with_its_cure::<Unpacked>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "wants MySQL 9: make test-mysql"]
async fn every_value_goes_to_a_server_of_its_kind() {
    target::every_value_goes_to_a_server_of_its_kind::<Unpacked>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "wants MySQL 9: make test-mysql"]
async fn nothing_is_lost_doubled_or_torn_on_its_way_to_one_of_its_kind() {
    target::nothing_is_lost_doubled_or_torn_on_its_way_to_one_of_its_kind::<Unpacked>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "wants MySQL 9: make test-mysql"]
async fn large_transactions_go_by_sets() {
    target::large_transactions_go_by_sets::<Unpacked>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "wants MySQL 9: make test-mysql"]
async fn a_task_that_is_deleted_leaves_nothing_but_the_rows() {
    target::a_task_that_is_deleted_leaves_nothing_but_the_rows::<Unpacked>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "wants MySQL 9: make test-mysql"]
async fn every_value_comes_from_postgresql() {
    target::every_value_comes_from_postgresql::<Unpacked>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "wants MySQL 9: make test-mysql"]
async fn nothing_is_lost_doubled_or_torn_on_its_way_from_postgresql() {
    target::nothing_is_lost_doubled_or_torn_on_its_way_from_postgresql::<Unpacked>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "wants MySQL 9: make test-mysql"]
async fn a_row_that_is_too_large_parks_its_table() {
    target::a_row_that_is_too_large_parks_its_table::<Unpacked>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "wants MySQL 9: make test-mysql"]
async fn a_crash_at_every_point_is_survived() {
    target::a_crash_at_every_point_is_survived::<Unpacked>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "wants MySQL 9: make test-mysql"]
async fn tables_of_a_target_are_altered_while_workers_die() {
    target::tables_of_a_target_are_altered_while_workers_die::<Unpacked>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "wants MySQL 9: make test-mysql"]
async fn every_value_goes_to_mariadb() {
    target::every_value_goes_to_the_other_kind::<Unpacked, Installed>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "wants MySQL 9: make test-mysql"]
async fn every_value_comes_from_mariadb() {
    target::every_value_goes_to_the_other_kind::<Installed, Unpacked>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "wants MySQL 9: make test-mysql"]
async fn a_task_goes_on_at_the_server_that_took_over() {
    failover::a_task_goes_on_at_the_server_that_took_over::<Unpacked>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "wants MySQL 9: make test-mysql"]
async fn a_server_that_lacks_what_the_target_has_is_waited_for_or_refused() {
    failover::a_server_that_lacks_what_the_target_has_is_waited_for_or_refused::<Unpacked>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "wants MySQL 9: make test-mysql"]
async fn a_log_that_was_begun_anew_is_noticed() {
    failover::a_log_that_was_begun_anew_is_noticed::<Unpacked>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "wants MySQL 9: make test-mysql"]
async fn prepared_transactions_count_where_they_are_committed() {
    family::prepared_transactions_count_where_they_are_committed::<Unpacked>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "wants MySQL 9: make test-mysql"]
async fn every_character_of_every_set_is_what_the_server_says() {
    charsets::every_character_of_every_set_is_what_the_server_says::<Unpacked>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "wants MySQL 9: make test-mysql"]
async fn every_character_of_every_set_goes_to_a_server_of_its_kind() {
    charsets::every_character_of_every_set_goes_to_a_server_of_its_kind::<Unpacked>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "wants MySQL 9: make test-mysql"]
async fn texts_that_unicode_lacks_park_their_table_and_no_other() {
    charsets::texts_that_unicode_lacks_park_their_table_and_no_other::<Unpacked>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "wants MySQL 9: make test-mysql"]
async fn shapes_and_what_one_system_has_come_as_they_are() {
    types::shapes_and_what_one_system_has_come_as_they_are::<Unpacked>(&types::VECTORS).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "wants MySQL 9: make test-mysql"]
async fn shapes_and_what_one_system_has_go_to_their_family() {
    types::shapes_and_what_one_system_has_go_to_their_family::<Unpacked, Unpacked>(&types::VECTORS, true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "wants MySQL 9: make test-mysql"]
async fn shapes_and_vectors_go_to_mariadb() {
    types::shapes_and_what_one_system_has_go_to_their_family::<Unpacked, Installed>(&types::VECTORS, false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "wants MySQL 9: make test-mysql"]
async fn shapes_and_addresses_come_from_mariadb() {
    types::shapes_and_what_one_system_has_go_to_their_family::<Installed, Unpacked>(&types::ADDRESSES, false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "wants MySQL 9: make test-mysql"]
async fn json_that_is_logged_in_parts_comes_whole() {
    log::json_that_is_logged_in_parts_comes_whole::<Unpacked>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "wants MySQL 9: make test-mysql"]
async fn json_that_is_logged_in_parts_goes_to_a_server_of_its_kind() {
    log::json_that_is_logged_in_parts_goes_to_a_server_of_its_kind::<Unpacked>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "wants MySQL 9: make test-mysql"]
async fn an_encrypted_log_is_followed() {
    log::an_encrypted_log_is_followed::<WithKeyring>(&["--binlog-encryption=ON"], |server| {
        let files = server.rows("SHOW BINARY LOGS").unwrap();
        !files.is_empty() && files.iter().all(|file| file.ends_with("\tYes"))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "wants MySQL 9: make test-mysql"]
async fn values_that_postgresql_does_not_have_are_altered_and_counted() {
    unfit_in_postgresql::values_that_postgresql_does_not_have_are_altered_and_counted::<Unpacked>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "wants MySQL 9: make test-mysql"]
async fn keys_and_columns_without_null_park_their_tables() {
    unfit_in_postgresql::keys_and_columns_without_null_park_their_tables::<Unpacked>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "wants MySQL 9: make test-mysql"]
async fn values_that_only_postgresql_has_are_altered_and_counted() {
    unfit_in_family::values_that_only_postgresql_has_are_altered_and_counted::<Unpacked>(&["--local-infile=ON"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "wants MySQL 9: make test-mysql"]
async fn writers_are_stopped_by_who_may_flush() {
    begin::writers_are_stopped_by_who_may_flush::<Unpacked>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "wants MySQL 9: make test-mysql"]
async fn writers_of_the_tables_are_stopped_by_who_may_lock_them() {
    begin::writers_of_the_tables_are_stopped_by_who_may_lock_them::<Unpacked>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "wants MySQL 9: make test-mysql"]
async fn who_may_lock_nothing_begins_between_two_places() {
    begin::who_may_lock_nothing_begins_between_two_places::<Unpacked>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "wants MySQL 9: make test-mysql"]
async fn who_may_lock_nothing_goes_on_with_a_load() {
    begin::who_may_lock_nothing_goes_on_with_a_load::<Unpacked>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "wants MySQL 9: make test-mysql"]
async fn who_may_lock_nothing_follows_nothing_without_numbers() {
    begin::who_may_lock_nothing_follows_nothing_without_numbers::<Unpacked>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "wants MySQL 9: make test-mysql"]
async fn a_certificate_is_checked_by_authority_and_host() {
    logins::a_certificate_is_checked_by_authority_and_host::<Unpacked>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "wants MySQL 9: make test-mysql"]
async fn the_password_is_asked_for_once_and_known_then() {
    logins::the_password_is_asked_for_once_and_known_then().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "wants MySQL 9: make test-mysql"]
async fn a_source_that_dies_in_its_load_or_has_lost_its_log_is_survived() {
    faults::a_source_that_dies_in_its_load_or_has_lost_its_log_is_survived(Kind::Mysql).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "wants MySQL 9: make test-mysql"]
async fn deadlocks_and_commits_that_are_cut_off_are_survived() {
    faults::deadlocks_and_commits_that_are_cut_off_are_survived(Kind::Mysql).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "wants MySQL 9: make test-mysql"]
async fn a_task_is_loaded_again() {
    target::a_task_is_loaded_again::<Unpacked>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "wants MySQL 9: make test-mysql"]
async fn what_is_not_carried_over_and_a_log_that_is_kept_short_are_told() {
    tables::what_is_not_carried_over_and_a_log_that_is_kept_short_are_told::<Unpacked>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "wants MySQL 9: make test-mysql"]
async fn what_only_its_own_kind_has_is_carried_over() {
    tables::what_only_its_own_kind_has_is_carried_over::<Unpacked>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "wants MySQL 9: make test-mysql"]
async fn what_is_not_carried_over_can_be_made_by_hand() {
    tables::what_is_not_carried_over_can_be_made_by_hand::<Unpacked>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "wants MySQL 9: make test-mysql"]
async fn a_row_without_a_key_is_found_by_its_very_document() {
    exact::a_row_without_a_key_is_found_by_its_very_document::<Unpacked>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "wants MySQL 9: make test-mysql"]
async fn a_kept_table_that_takes_keys_for_others_is_refused() {
    exact::a_kept_table_that_takes_keys_for_others_is_refused::<Unpacked>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "wants MySQL 9: make test-mysql"]
async fn a_reload_takes_no_rows_that_are_not_the_tasks() {
    exact::a_reload_takes_no_rows_that_are_not_the_tasks::<Unpacked>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "wants MySQL 9: make test-mysql"]
async fn a_kept_column_does_not_set_itself() {
    exact::a_kept_column_does_not_set_itself::<Unpacked>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "wants MySQL 9: make test-mysql"]
async fn a_table_without_snapshots_is_refused_by_name() {
    exact::a_table_without_snapshots_is_refused_by_name::<Unpacked>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "wants MySQL 9: make test-mysql"]
async fn expressions_and_defaults_keep_their_letters() {
    exact::expressions_and_defaults_keep_their_letters::<Unpacked>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "wants MySQL 9: make test-mysql"]
async fn a_default_by_which_rows_got_their_value_does_not_stay() {
    exact::a_default_by_which_rows_got_their_value_does_not_stay::<Unpacked>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "wants MySQL 9: make test-mysql"]
async fn a_table_without_a_key_is_loaded_by_partition() {
    exact::a_table_without_a_key_is_loaded_by_partition::<Unpacked>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "wants MySQL 9: make test-mysql"]
async fn all_writers_of_sysbench_are_followed_to_postgresql() {
    sysbench::all_writers_of_sysbench_are_followed_to_postgresql::<Unpacked>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "wants MySQL 9: make test-mysql"]
async fn all_writers_of_sysbench_are_followed_to_one_of_its_kind() {
    sysbench::all_writers_of_sysbench_are_followed_to_one_of_its_kind::<Unpacked>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "wants MySQL 9: make test-mysql"]
async fn what_postgresql_lacks_of_a_table_is_told() {
    left::what_postgresql_lacks_of_a_table_is_told::<Unpacked>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "wants MySQL 9: make test-mysql"]
async fn keys_of_alike_texts_and_hidden_columns_go_to_one_of_its_kind() {
    left::keys_of_alike_texts_and_hidden_columns_go_to_one_of_its_kind::<Unpacked>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "wants MySQL 9: make test-mysql"]
async fn what_the_family_lacks_of_postgresqls_tables_is_told() {
    left::what_the_family_lacks_of_postgresqls_tables_is_told::<Unpacked>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "wants MySQL 9: make test-mysql"]
async fn a_unique_index_over_long_texts_of_mariadb_is_told() {
    left::a_unique_index_over_long_texts_is_made_or_told::<Installed, Unpacked>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "wants MySQL 9: make test-mysql"]
async fn prepared_transactions_of_a_compressed_log_count_there_too() {
    family::prepared_transactions_of_a_compressed_log_count_there_too::<Unpacked>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "wants MySQL 9: make test-mysql"]
async fn a_statement_in_place_of_rows_parks_every_table() {
    statements::a_statement_in_place_of_rows_parks_every_table::<Unpacked>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "wants MySQL 9: make test-mysql"]
async fn temporary_tables_hide_others_from_their_session_alone() {
    statements::temporary_tables_hide_others_from_their_session_alone::<Unpacked>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "wants MySQL 9: make test-mysql"]
async fn a_table_of_memory_is_emptied_by_a_restart() {
    statements::a_table_of_memory_is_emptied_by_a_restart::<Unpacked>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "wants MySQL 9: make test-mysql"]
async fn rows_of_every_way_to_write_many_come() {
    statements::rows_of_every_way_to_write_many_come::<Unpacked>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "wants MySQL 9: make test-mysql"]
async fn rows_that_leave_columns_out_come_whole_or_park_their_table() {
    statements::rows_that_leave_columns_out_come_whole_or_park_their_table::<Unpacked>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "wants MySQL 9: make test-mysql"]
async fn rows_that_leave_columns_out_have_their_defaults() {
    statements::rows_that_leave_columns_out_have_their_defaults::<Unpacked>().await;
}
