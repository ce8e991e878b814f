//! Every page is rendered from samples. With `WAVEMARK_PAGES` set to a folder they are written there to look at.

use askama::Template;
use wavemark_domain::task::TaskSettings;
use wavemark_store::pages::{Counts, Parked};
use wavemark_store::task_tables::TaskTable;

use super::events::EventList;
use super::field::choices;
use super::preview::{self, PreviewBox};
use super::shell::{Area, Notice, Shell};
use super::task::{self, AskPage, Material, TabName};
use super::task_form::{self, TaskForm};
use super::task_settings;
use super::{chip, compare, door, endpoints, event, overview, samples, tasks, workers};

fn shell() -> Shell {
    let counts = Counts { tasks: 7, endpoints: 3, workers: 2 };
    Shell::new("ann", "operator", counts, samples::NOW)
}

fn parked() -> Vec<Parked> {
    let TaskTable { since, progress: table, .. } = samples::tables().pop().unwrap();
    vec![Parked { task: samples::shop().id, since, table }]
}

fn overview(may_edit: bool) -> overview::Overview {
    let shell = shell().page(Area::Overview, "Overview", &[]).live("/live");
    overview::overview(shell, samples::standings(), &parked(), &samples::workers(), may_edit, samples::NOW)
}

fn task_page(tab: TabName) -> task::TaskPage {
    let standing = samples::standings().remove(1);
    let tables = samples::tables();
    let settings = TaskSettings::default();
    let material = Material {
        standing: &standing,
        engines: ("PostgreSQL", "PostgreSQL"),
        settings: &settings,
        tables: &tables,
        tab,
        may_edit: true,
        now: samples::NOW,
    };
    let body = match tab {
        TabName::Now => task::now(material, &samples::samples()),
        TabName::Tables => task::all_tables(material),
        TabName::Compares => task::compares(material, &compare::invented::compares()),
        TabName::Errors | TabName::History => task::history(material, &samples::events(), Some(1)),
        TabName::Mapping => {
            let json = serde_json::from_str(samples::MAPPING).unwrap();
            let found = samples::discovered();
            task::mapping(
                material,
                &json,
                preview::preview(samples::MAPPING, Some((samples::NOW, &found)), samples::NOW),
            )
        }
    };
    task::task(shell().live("/tasks/2/live"), material, body)
}

fn loading_page() -> task::TaskPage {
    let standing = samples::standings().remove(2);
    let tables: Vec<_> = samples::tables().into_iter().take(5).collect();
    let settings = TaskSettings::default();
    let material = Material {
        standing: &standing,
        engines: ("PostgreSQL", "PostgreSQL"),
        settings: &settings,
        tables: &tables,
        tab: TabName::Now,
        may_edit: true,
        now: samples::NOW,
    };
    task::task(shell(), material, task::now(material, &[]))
}

fn new_task(broken: bool) -> TaskForm {
    let mut typed = task_settings::typed_settings(&TaskSettings::default());
    typed.extend([
        ("name".to_owned(), "shop-to-analytics".to_owned()),
        ("kind".to_owned(), "full-load-and-cdc".to_owned()),
    ]);
    let error = broken.then_some(("name", "There is a task of this name already."));
    let (settings, more_settings) = task_settings::settings(&typed, error);
    let found = samples::discovered();
    let mappings =
        if broken { samples::MAPPING.replace("\"include\"", "\"inclode\"") } else { samples::MAPPING.to_owned() };
    TaskForm {
        shell: shell().page(Area::Tasks, "New task", &[("Tasks", "/tasks")]),
        title: "New task".to_owned(),
        error: None,
        missing: None,
        action: "/tasks/new".to_owned(),
        creates: true,
        basics: task_form::basics(
            &typed,
            choices([("100", "shop-prod")], "100"),
            choices([("101", "analytics")], "101"),
            error,
        ),
        preview: preview::preview(&mappings, Some((samples::NOW, &found)), samples::NOW),
        mappings,
        mapping_error: None,
        settings,
        more_settings,
        more_open: false,
        button: "Create",
        back: "/tasks".to_owned(),
    }
}

fn endpoint_page(running: &endpoints::Running) -> endpoints::EndpointPage {
    let endpoint = samples::endpoints().remove(1);
    let found = samples::discovered();
    let shell = shell().page(Area::Endpoints, "shop-prod", &[("Endpoints", "/endpoints")]);
    let found = Some((samples::NOW, &found[..]));
    endpoints::endpoint(
        shell,
        &endpoint,
        Some(&samples::spec()),
        &samples::all_tasks(),
        found,
        running,
        false,
        true,
        samples::NOW,
    )
}

fn endpoint_form() -> endpoints::EndpointForm {
    let endpoint = samples::endpoints().remove(1);
    let error = Some(("port", "must be a whole number from 1 to 65535"));
    let name = super::field::Field::text("name", "Name", &*endpoint.name).required();
    let fields = samples::spec()
        .fields
        .iter()
        .map(|spec| super::field::Field::of_setting(spec, &endpoint.settings, &endpoint.secrets, None).wrong(error))
        .collect::<Vec<_>>();
    endpoints::EndpointForm {
        shell: shell().page(Area::Endpoints, "Edit", &[("Endpoints", "/endpoints"), ("shop-prod", "/endpoints/100")]),
        title: "Edit shop-prod".to_owned(),
        error: None,
        action: "/endpoints/100/edit".to_owned(),
        engine: "postgresql".to_owned(),
        others: vec![("/endpoints/new?engine=mysql".to_owned(), "MySQL or MariaDB")],
        version: Some(3),
        fields: [name].into_iter().chain(fields).collect(),
        button: "Save",
        back: "/endpoints/100".to_owned(),
    }
}

fn compare_page() -> compare::ComparePage {
    let shell = shell().page(Area::Tasks, "Comparison", &[("Tasks", "/tasks"), ("shop-to-analytics", "/tasks/2")]);
    compare::page(shell, &compare::invented::compares()[0], &samples::shop(), true, samples::NOW)
}

fn event_list() -> EventList {
    EventList {
        shell: shell().page(Area::Events, "Events", &[]),
        severities: choices([("", "All"), ("warning", "Warnings and errors")], ""),
        tasks: choices([("", "All tasks")], ""),
        spans: choices([("", "All of it"), ("24", "Last day")], ""),
        code: String::new(),
        any: false,
        events: samples::events().iter().map(|one| event::EventLine::new(one, false, samples::NOW)).collect(),
        nothing: "Nothing has happened yet.",
        more: Some("/events?before=1".to_owned()),
    }
}

fn empty() -> overview::Overview {
    let shell = Shell { counts: Counts::default(), ..shell() }.page(Area::Overview, "Overview", &[]);
    overview::overview(shell, Vec::new(), &[], &[], true, samples::NOW)
}

fn pages() -> Vec<(&'static str, String)> {
    let list = || {
        let shell = shell().page(Area::Tasks, "Tasks", &[]);
        tasks::list(shell, samples::standings(), tasks::Filter::new("", None), true, samples::NOW)
    };
    let mut noticed = list();
    noticed.shell.notice = Some(Notice { tone: chip::Tone::Ok, text: "shop-to-analytics is starting.".to_owned() });
    let held = [(samples::workers()[0].id, samples::shop().id, "shop-to-analytics".to_owned())];
    let worker_list =
        workers::list(shell().page(Area::Workers, "Workers", &[]), samples::workers(), &held, true, samples::NOW);
    let endpoint_list = endpoints::list(
        shell().page(Area::Endpoints, "Endpoints", &[]),
        &samples::endpoints(),
        &samples::all_tasks(),
        &[samples::spec()],
        true,
        samples::NOW,
    );
    let ask = AskPage {
        shell: shell().page(Area::Tasks, "Delete", &[("Tasks", "/tasks")]),
        ask: task::ask_delete(&samples::shop()),
    };
    let render = |page: &dyn askama::DynTemplate| page.dyn_render().unwrap();
    vec![
        ("overview", render(&overview(true))),
        ("empty", render(&empty())),
        ("tasks", render(&noticed)),
        ("task", render(&task_page(TabName::Now))),
        ("task-tables", render(&task_page(TabName::Tables))),
        ("task-compares", render(&task_page(TabName::Compares))),
        ("compare", render(&compare_page())),
        ("task-history", render(&task_page(TabName::History))),
        ("task-mapping", render(&task_page(TabName::Mapping))),
        ("task-loading", render(&loading_page())),
        ("task-new", render(&new_task(false))),
        ("task-new-error", render(&new_task(true))),
        ("task-delete", render(&ask)),
        ("endpoints", render(&endpoint_list)),
        ("endpoint", render(&endpoint_page(&endpoints::Running::No))),
        ("endpoint-testing", render(&endpoint_page(&endpoints::Running::Running))),
        ("endpoint-form", render(&endpoint_form())),
        ("workers", render(&worker_list)),
        ("events", render(&event_list())),
        ("login", render(&door::Door::log_in("ann", "/", Some("The name or the password is wrong.".to_owned())))),
        ("first-run", render(&door::Door::first_run("admin", Some(("code", "The code is wrong."))))),
    ]
}

#[test]
fn every_page_renders_from_samples() {
    let pages = pages();
    if let Some(folder) = std::env::var_os("WAVEMARK_PAGES") {
        for (name, html) in &pages {
            std::fs::write(std::path::Path::new(&folder).join(format!("{name}.html")), html).unwrap();
        }
    }
    for (name, html) in &pages {
        assert!(html.starts_with("<!doctype html>"), "{name}");
        assert!(html.contains("<h1>") || html.contains("<h2>"), "{name} has no heading");
        assert!(html.trim_end().ends_with("</html>"), "{name}");
        assert!(html.len() < 60_000, "{name} has {} bytes", html.len());
    }
}

#[test]
fn no_page_holds_inline_scripts_or_styles() {
    for (name, html) in pages() {
        for forbidden in [" style=\"", "<style", "<script>", " onclick=", " hx-on", "javascript:", "http://"] {
            assert!(!html.contains(forbidden), "{name} holds {forbidden}");
        }
    }
}

#[test]
fn every_label_has_its_field_and_no_id_is_used_twice() {
    for (name, html) in pages() {
        let attributes = |attribute: &str| {
            html.split(&format!(" {attribute}=\""))
                .skip(1)
                .map(|rest| rest.split('"').next().unwrap().to_owned())
                .collect::<Vec<_>>()
        };
        let ids = attributes("id");
        for label in attributes("for") {
            assert!(ids.contains(&label), "{name}: nothing has the id {label}");
        }
        let mut once = ids.clone();
        once.sort();
        once.dedup();
        assert_eq!(once.len(), ids.len(), "{name}: an id is used twice: {ids:?}");
    }
}

#[test]
fn names_are_escaped() {
    let mut standings = samples::standings();
    standings[0].task.name = "<img src=x onerror=alert(1)>".to_owned();
    let shell = shell().page(Area::Tasks, "Tasks", &[]);
    let html = tasks::list(shell, standings, tasks::Filter::new("\"><i>", None), true, samples::NOW).render().unwrap();
    assert!(!html.contains("<img"));
    assert!(!html.contains("\"><i>"));
}

#[test]
fn a_viewer_sees_no_buttons_that_change_something() {
    let html = overview(false).render().unwrap();
    assert!(!html.contains("/resume"));
    assert!(!html.contains("New task"));
    assert!(html.contains(">Open<"));
}

#[test]
fn the_live_part_is_what_stands_in_the_page() {
    let page = overview(true);
    let live = page.as_live().render().unwrap();
    assert!(page.render().unwrap().contains(live.trim()));
    assert!(!live.contains("<html"));
}

#[test]
fn the_overview_names_who_needs_someone_and_the_way_out() {
    let page = overview(true);
    assert_eq!(page.headline, "6 tasks · 2 need you");
    assert_eq!(
        page.problems[0].title,
        "billing-to-warehouse: failed: the slot wavemark_1f3a_1 of billing-prod was invalidated because it kept more log than max_slot_wal_keep_size"
    );
    assert_eq!(page.problems[0].actions[0].label, "Reload all…");
    assert_eq!(page.figures[0].value, "3.4\u{202f}s");
    assert_eq!(page.figures[0].note, "shop-to-analytics");
}

#[test]
fn the_slowest_stage_is_marked_with_its_reason() {
    let page = task_page(TabName::Now);
    let slow: Vec<_> = page.flow.iter().filter_map(|stage| stage.slow.as_deref()).collect();
    assert_eq!(slow, ["73 % of the time goes into statements"]);
    assert_eq!(page.flow[3].value, "12.4\u{202f}k changes/s");
    assert_eq!(page.flow[0].lines[1].text, "keeps 1.2\u{202f}GiB of 64\u{202f}GiB");
}

#[test]
fn a_load_says_how_far_it_is_and_how_long_it_may_take() {
    let bar = loading_page().load.unwrap();
    assert_eq!(bar.percent, 63);
    assert_eq!(bar.title, "Loading, 63\u{202f}%");
}

#[test]
fn the_preview_alone_is_a_part_of_the_form() {
    let preview = PreviewBox { preview: new_task(false).preview }.render().unwrap();
    assert!(preview.trim_start().starts_with("<div id=\"preview\""));
}
