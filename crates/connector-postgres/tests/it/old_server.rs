//! The oldest server that can be a source, and one that is older than its log can be followed of: version 13, by
//! `WAVEMARK_TEST_PG_BIN=$(.ci/postgres-13)`.

use crate::support::Cluster;
use crate::support::task::{Fixture, endpoint, load};
use wavemark_connector::Connector as _;
use wavemark_connector_postgres::Postgres;
use wavemark_domain::Fault;
use wavemark_domain::check::Weight;
use wavemark_domain::task::TaskKind;

#[tokio::test]
async fn a_server_is_loaded_from_although_its_log_cannot_be_followed() {
    let cluster = Cluster::start(&[]);
    cluster.sql(
        "create type span as range (subtype = int); create domain small as int check (value < 100);
         create table t (id int primary key, note text, during span, size small);
         insert into t values (1, 'one', '[1,3)', 5);
         create table p (id int primary key, note text) partition by range (id);
         create table p1 partition of p for values from (0) to (10); insert into p values (3, 'three')",
    );
    let mut fixture = Fixture::new(&cluster);
    fixture.task.kind = TaskKind::FullLoad;
    let plan = fixture.plan(&["t", "p"]).await;
    let view = fixture.begin(&plan).await;
    assert_eq!(load(&*view, &plan[0], 1 << 20).await.len(), 1);
    assert_eq!(load(&*view, &plan[1], 1 << 20).await, ["+p 3,three"]);
    // As a target it is compared, too.
    let side = view.side(1).await.unwrap();
    for (table, rows) in plan.iter().zip([1, 1]) {
        let forms = side.forms(table).await.unwrap();
        let sums = side.fingerprint(table, &forms[0], 1, &|_| {}).await.unwrap();
        assert_eq!(sums.iter().map(|sum| sum.rows).sum::<u64>(), rows, "{}", table.name());
    }
    drop((side, view));
    let blockers = async |fixture: &Fixture| {
        let found = fixture.source.assess(&fixture.task, &plan).await.unwrap();
        found
            .into_iter()
            .filter(|finding| finding.weight == Weight::Blocker)
            .map(|finding| finding.code)
            .collect::<Vec<_>>()
    };
    assert_eq!(blockers(&fixture).await, Vec::<String>::new());
    fixture.task.kind = TaskKind::FullLoadAndCdc;
    let mut failed = Vec::new();
    let test = &mut |step: wavemark_domain::check::Step| failed.extend((!step.passed).then_some(step.name));
    Postgres.test(&endpoint(&cluster, "postgres"), true, false, test).await;
    if cluster.major() >= 14 {
        assert_eq!(blockers(&fixture).await, Vec::<String>::new());
        assert_eq!(failed, Vec::<String>::new());
        return;
    }
    assert_eq!(blockers(&fixture).await, ["version"]);
    assert_eq!(failed, ["version"]);
    let Err(problem) = fixture.source.begin(&fixture.task, &plan).await else { panic!("it should have been refused") };
    assert_eq!((problem.fault, problem.code.as_str()), (Fault::Settings, "version"), "{problem:?}");
    assert!(problem.text.starts_with("The source has version 13"), "{problem}");
    assert_eq!(cluster.sql("select count(*) from pg_publication"), "0");
}
