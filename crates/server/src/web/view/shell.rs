//! What is around every page: title, navigation, who is logged in, how fresh it is.

use time::OffsetDateTime;
use wavemark_store::pages::Counts;

use super::chip::Tone;
use super::{assets, format, when};

/// The areas of the navigation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Area {
    /// The first page.
    #[default]
    Overview,
    /// Tasks.
    Tasks,
    /// Endpoints.
    Endpoints,
    /// Workers.
    Workers,
    /// Events.
    Events,
}

/// What is around every page.
#[derive(Clone, Debug, Default)]
pub struct Shell {
    /// The page's title.
    pub title: String,
    /// The way to it; the last one is the page itself.
    pub crumbs: Vec<Crumb>,
    /// Where in the navigation it is.
    pub area: Area,
    /// Where its live part comes from.
    pub live: Option<String>,
    /// Who is logged in.
    pub user: String,
    /// What they may do.
    pub role: &'static str,
    /// What the navigation counts.
    pub counts: Counts,
    /// The time at which it was made.
    pub clock: String,
    /// What was looked for.
    pub find: String,
    /// What the last press did.
    pub notice: Option<Notice>,
}

/// One step of the way to a page.
#[derive(Clone, Debug)]
pub struct Crumb {
    /// Its name.
    pub label: String,
    /// Where it leads; the page itself has none.
    pub href: Option<String>,
}

/// One sentence above a page.
#[derive(Clone, Debug)]
pub struct Notice {
    /// How it went.
    pub tone: Tone,
    /// What happened.
    pub text: String,
}

/// One line of the navigation.
pub struct NavItem {
    /// Its name.
    pub label: &'static str,
    /// Where it leads.
    pub href: &'static str,
    /// How many there are.
    pub count: Option<String>,
    /// Whether the page is in it.
    pub here: bool,
}

impl Shell {
    /// A shell for someone, at a time.
    #[must_use]
    pub fn new(user: &str, role: &'static str, counts: Counts, now: OffsetDateTime) -> Self {
        Self { user: user.to_owned(), role, counts, clock: when::time_of_day(now), ..Self::default() }
    }

    /// Names the page and its place.
    #[must_use]
    pub fn page(mut self, area: Area, title: impl Into<String>, above: &[(&str, &str)]) -> Self {
        self.title = title.into();
        self.area = area;
        self.crumbs = above
            .iter()
            .map(|(label, href)| Crumb { label: (*label).to_owned(), href: Some((*href).to_owned()) })
            .chain([Crumb { label: self.title.clone(), href: None }])
            .collect();
        self
    }

    /// Names where the live part comes from.
    #[must_use]
    pub fn live(mut self, href: impl Into<String>) -> Self {
        self.live = Some(href.into());
        self
    }

    /// The address of a script, style or picture.
    #[must_use]
    pub fn asset(&self, path: &str) -> String {
        assets::href(path)
    }

    /// The navigation.
    #[must_use]
    pub fn nav(&self) -> Vec<NavItem> {
        let count = |number: i64| Some(format::count(number.unsigned_abs()));
        [
            ("Overview", "/", None, Area::Overview),
            ("Tasks", "/tasks", count(self.counts.tasks), Area::Tasks),
            ("Endpoints", "/endpoints", count(self.counts.endpoints), Area::Endpoints),
            ("Workers", "/workers", count(self.counts.workers), Area::Workers),
            ("Events", "/events", None, Area::Events),
        ]
        .into_iter()
        .map(|(label, href, count, area)| NavItem { label, href, count, here: area == self.area })
        .collect()
    }
}
