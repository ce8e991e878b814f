//! MySQL into PostgreSQL, by `make test-mysql`; what the tests do stands in `mysql_family`.

use wavemark_tests::mysql::Unpacked;

use crate::mysql_family as family;

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
