//! A real browser: Debian's Chromium without a window, driven by its chromedriver, used as a person uses it.
//!
//! Things on a page are found by the words that stand there: a field by its label, a button by what it says. What is
//! asked for is waited for, since pages change while they are looked at.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;
use thirtyfour::common::command::FormatRequestData;
use thirtyfour::error::{WebDriverError, WebDriverErrorInner};
use thirtyfour::session::scriptret::ScriptRet;
use thirtyfour::{
    ChromiumLikeCapabilities as _, DesiredCapabilities, LoggingPrefsLogLevel, RequestData, SessionId, WebDriver,
    WebElement,
};

use crate::cluster::free_port;
use crate::guard::Guard;
use crate::process::Process;
use crate::signal::{self, Signal};

/// How long a page may take to show what is waited for.
const PATIENCE: Duration = Duration::from_secs(20);

/// What ends the browser if this process dies. The folder's name is its alone, so nobody else's browser is meant;
/// in the shell's own command line the two halves of the argument do not stand together.
const END: &str = "for each in /proc/[0-9]*; do \
    grep -aqs -- \"--user-data-dir=$1\" \"$each/cmdline\" && kill -KILL \"${each#/proc/}\"; done; \
    sleep 1; rm -rf \"$1\"";

/// Looks for one thing that a person can see. In an open dialog everything else is out of reach.
const FIND: &str = r"
    const [kind, words] = arguments;
    const clean = (text) => (text ?? '').replace(/[\s\u202f]+/g, ' ').trim();
    const seen = (element) => element.checkVisibility({ visibilityProperty: true });
    const root = document.querySelector('dialog[open]') ?? document;
    if (kind === 'button') {
        const all = [...root.querySelectorAll('button, a, summary')];
        return all.find((element) => seen(element) && clean(element.innerText) === words) ?? null;
    }
    const labels = [...root.querySelectorAll('label')].filter((label) => {
        const must = label.querySelector('.must');
        return clean(label.innerText.replace(must?.innerText ?? '', '')).startsWith(words);
    });
    return labels.map((label) => label.control).find((control) => control && seen(control)) ?? null;";

const CHOOSE: &str = r"
    const [select, words] = arguments;
    const option = [...select.options].find((option) => option.label.trim() === words);
    if (!option) return false;
    select.value = option.value;
    select.dispatchEvent(new Event('input', { bubbles: true }));
    select.dispatchEvent(new Event('change', { bubbles: true }));
    return true;";

const CELL: &str = r"
    const [words, column] = arguments;
    const row = [...document.querySelectorAll('tbody tr')].find((row) =>
        [...row.querySelectorAll('.name, code')].some((name) => name.innerText.trim() === words));
    const heads = row ? [...row.closest('table').tHead.rows[0].cells] : [];
    const at = heads.findIndex((head) => head.innerText.trim() === column);
    return at < 0 ? null : row.cells[at].innerText.replace(/[\s\u202f]+/g, ' ').trim();";

const TIME: &str = r"
    const [path, requests, done] = arguments;
    (async () => {
        const took = [];
        for (let request = 0; request < requests; request += 1) {
            const begun = performance.now();
            const answer = await fetch(path);
            if (!answer.ok || answer.redirected) return done(null);
            await answer.text();
            took.push(performance.now() - begun);
        }
        done(took);
    })();";

/// A command of Chromium's own protocol, which chromedriver passes on.
#[derive(Debug)]
struct DevTools(&'static str, Value);

impl FormatRequestData for DevTools {
    fn format_request(&self, session: &SessionId) -> RequestData {
        let body = json!({"cmd": self.0, "params": self.1});
        RequestData::new(Method::POST, format!("/session/{session}/goog/cdp/execute")).add_body(body)
    }
}

/// One browser with one page. Dropping it ends it.
pub struct Browser {
    // In this order they are dropped: the session, its driver, and what is left of either.
    page: WebDriver,
    _driver: Process,
    _rest: Rest,
    base: String,
}

/// The profile's folder, and whatever still runs in it.
struct Rest {
    profile: TempDir,
    _guard: Guard,
}

impl Drop for Rest {
    fn drop(&mut self) {
        let left = running_in(self.profile.path());
        // The guard does the same if this fails.
        drop(Signal::Kill.send(&left));
        drop(signal::wait_gone(&left, Duration::from_secs(5)));
    }
}

impl Browser {
    /// Starts a browser for the pages under `base`, 1400 pixels wide.
    ///
    /// # Errors
    /// chromedriver or Chromium is missing or does not start.
    pub async fn start(base: &str) -> Result<Self> {
        let profile = tempfile::Builder::new().prefix("wavemark-browser-").tempdir()?;
        let folder = profile.path().to_string_lossy().into_owned();
        let guard = Guard::with_script(END, &[&folder])?;
        let rest = Rest { profile, _guard: guard };
        let port = free_port()?;
        let log = rest.profile.path().join("chromedriver.log");
        let mut driver = Process::new("chromedriver", &[&format!("--port={port}")], log);
        driver.start().context("starting chromedriver (Debian's package chromium-driver)")?;
        let page = session(port, &folder).await.with_context(|| format!("its log ends:\n{}", driver.log_end(15)))?;
        let browser = Self { page, _driver: driver, _rest: rest, base: base.to_owned() };
        browser.size(1400, 1200).await?;
        Ok(browser)
    }

    /// Goes to a path of the product.
    ///
    /// # Errors
    /// The browser is gone. So for all that follow; what else can go wrong is said at each.
    pub async fn open(&self, path: &str) -> Result<()> {
        Ok(self.page.goto(format!("{}{path}", self.base)).await?)
    }

    /// The path of the page that is shown.
    ///
    /// # Errors
    /// See [`Browser::open`].
    pub async fn path(&self) -> Result<String> {
        Ok(self.page.current_url().await?.path().to_owned())
    }

    /// Everything that can be read on the page, with plain spaces. While a dialog is open, that alone.
    ///
    /// # Errors
    /// See [`Browser::open`].
    pub async fn text(&self) -> Result<String> {
        let script = "return (document.querySelector('dialog[open]') ?? document.body).innerText";
        let text = self.run(script, vec![]).await?;
        Ok(text.as_str().unwrap_or_default().replace('\u{202f}', " "))
    }

    /// Waits until all of the words can be read on the page.
    ///
    /// # Errors
    /// They can't in time; the text holds the page's.
    pub async fn sees(&self, words: &[&str]) -> Result<()> {
        let all = |text: &str| words.iter().all(|word| text.contains(word));
        self.reads(&format!("{words:?}"), all).await
    }

    /// Waits until the page's text is as asked for; `what` says that in words.
    ///
    /// # Errors
    /// It is not in time; the text holds the page's.
    pub async fn reads(&self, what: &str, is_so: impl Fn(&str) -> bool) -> Result<()> {
        let end = Instant::now() + PATIENCE;
        loop {
            // Between two pages there is no text.
            let text = self.text().await.unwrap_or_default();
            if is_so(&text) {
                return Ok(());
            }
            if Instant::now() > end {
                let path = self.path().await?;
                bail!("{path} does not show {what} after {PATIENCE:?}, but:\n{text}");
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Presses the button or link that says so.
    ///
    /// # Errors
    /// There is none.
    pub async fn press(&self, words: &str) -> Result<()> {
        let end = Instant::now() + PATIENCE;
        loop {
            match self.find("button", words).await?.click().await {
                Ok(()) => return Ok(()),
                // The live part was replaced, or moved, between looking and pressing.
                Err(error) if moved(&error) && Instant::now() < end => {}
                Err(error) => return Err(error).with_context(|| format!("pressing {words:?}")),
            }
        }
    }

    /// Types into the field with this label, in place of what stood there.
    ///
    /// # Errors
    /// There is none.
    pub async fn fill(&self, label: &str, text: &str) -> Result<()> {
        let field = self.find("field", label).await?;
        field.clear().await?;
        Ok(field.send_keys(text).await?)
    }

    /// Chooses what says so from the list with this label.
    ///
    /// # Errors
    /// There is no such list, or nothing of that name in it.
    pub async fn choose(&self, label: &str, words: &str) -> Result<()> {
        let list = self.find("field", label).await?;
        let done = self.run(CHOOSE, vec![list.to_json()?, json!(words)]).await?;
        anyhow::ensure!(done == Value::Bool(true), "the list {label:?} does not offer {words:?}");
        Ok(())
    }

    /// What stands in a table, in the row of this name and under this head; nothing if there is no such place.
    ///
    /// # Errors
    /// See [`Browser::open`].
    pub async fn cell(&self, row: &str, column: &str) -> Result<Option<String>> {
        let cell = self.run(CELL, vec![json!(row), json!(column)]).await?;
        Ok(cell.as_str().map(str::to_owned))
    }

    /// Waits until the place in a table says so.
    ///
    /// # Errors
    /// It does not in time; the text holds the page's.
    pub async fn sees_cell(&self, row: &str, column: &str, words: &str) -> Result<()> {
        let end = Instant::now() + PATIENCE;
        loop {
            let cell = self.cell(row, column).await?;
            if cell.as_deref() == Some(words) {
                return Ok(());
            }
            if Instant::now() > end {
                bail!("{column} of {row} is {cell:?}, not {words:?}; the page:\n{}", self.text().await?);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Leaves a mark on the page that is there until it is loaded anew.
    ///
    /// # Errors
    /// See [`Browser::open`].
    pub async fn mark(&self) -> Result<()> {
        self.run("window.marked = true", vec![]).await.map(drop)
    }

    /// Whether the page is still the one that was marked.
    ///
    /// # Errors
    /// See [`Browser::open`].
    pub async fn is_marked(&self) -> Result<bool> {
        Ok(self.run("return window.marked === true", vec![]).await? == Value::Bool(true))
    }

    /// What the browser complained about since the last call: errors of scripts, things it refused to load, breaches
    /// of the content security policy.
    ///
    /// # Errors
    /// See [`Browser::open`].
    pub async fn complaints(&self) -> Result<Vec<String>> {
        let log = self.page.browser_log().await?;
        let loud = log.into_iter().filter(|entry| matches!(entry.level.as_str(), "SEVERE" | "WARNING"));
        Ok(loud.map(|entry| format!("{}: {}", entry.level, entry.message)).collect())
    }

    /// How many pixels the page is wider than its window.
    ///
    /// # Errors
    /// See [`Browser::open`].
    pub async fn overflow(&self) -> Result<i64> {
        let script = "return document.documentElement.scrollWidth - document.documentElement.clientWidth";
        Ok(self.run(script, vec![]).await?.as_i64().unwrap_or_default())
    }

    /// How many pixels the page is high, from its first line to its last.
    ///
    /// # Errors
    /// See [`Browser::open`].
    pub async fn height(&self) -> Result<u32> {
        let height = self.run("return document.documentElement.scrollHeight", vec![]).await?;
        height.as_u64().and_then(|height| u32::try_from(height).ok()).context("the page has no height")
    }

    /// Makes the page as large, also smaller than a window can be.
    ///
    /// # Errors
    /// See [`Browser::open`].
    pub async fn size(&self, width: u32, height: u32) -> Result<()> {
        let metrics = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false});
        let command = DevTools("Emulation.setDeviceMetricsOverride", metrics);
        self.page.handle().cmd(command).await?;
        Ok(())
    }

    /// How long the page at a path takes to come, its HTML alone, as this browser asks for it: the median.
    ///
    /// # Errors
    /// See [`Browser::open`].
    pub async fn speed(&self, path: &str, requests: u32) -> Result<Duration> {
        let took = self.page.execute_async(TIME, vec![json!(path), json!(requests)]).await?;
        let mut took: Vec<f64> = serde_json::from_value(took.json().clone()).context("the page was not given")?;
        took.sort_by(f64::total_cmp);
        let median = took.get(took.len() / 2).context("nothing was measured")?;
        Ok(Duration::from_secs_f64(median / 1000.0))
    }

    /// Writes a picture of what the window shows to a PNG file.
    ///
    /// # Errors
    /// The file can't be written.
    pub async fn picture(&self, file: &Path) -> Result<()> {
        Ok(self.page.screenshot(file).await?)
    }

    /// Ends the browser. Dropping it does the same, but blocks.
    ///
    /// # Errors
    /// It does not end by itself; it is killed then.
    pub async fn close(self) -> Result<()> {
        Ok(self.page.clone().quit().await?)
    }

    async fn find(&self, kind: &str, words: &str) -> Result<WebElement> {
        let end = Instant::now() + PATIENCE;
        loop {
            let found = self.page.execute(FIND, vec![json!(kind), json!(words)]).await;
            if let Ok(element) = found.and_then(ScriptRet::element) {
                return Ok(element);
            }
            if Instant::now() > end {
                bail!("{} has no {kind} {words:?}, but:\n{}", self.path().await?, self.text().await?);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn run(&self, script: &str, arguments: Vec<Value>) -> Result<Value> {
        Ok(self.page.execute(script, arguments).await?.json().clone())
    }
}

async fn session(port: u16, profile: &str) -> Result<WebDriver> {
    let mut wishes = DesiredCapabilities::chrome();
    let arguments = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-background-networking",
        "--disable-quic",
        "--no-first-run",
        "--disable-component-update",
        "--disable-sync",
        "--hide-scrollbars",
    ];
    for argument in arguments {
        wishes.add_arg(argument)?;
    }
    wishes.add_arg(&format!("--user-data-dir={profile}"))?;
    wishes.set_browser_log_level(LoggingPrefsLogLevel::All)?;
    let end = Instant::now() + PATIENCE;
    loop {
        match WebDriver::new(format!("http://127.0.0.1:{port}"), wishes.clone()).await {
            Ok(page) => return Ok(page),
            Err(error) if Instant::now() > end => return Err(error).context("starting Chromium by chromedriver"),
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

fn moved(error: &WebDriverError) -> bool {
    use WebDriverErrorInner::{ElementClickIntercepted, ElementNotInteractable, NoSuchElement, StaleElementReference};
    matches!(
        error.as_inner(),
        ElementClickIntercepted(_) | ElementNotInteractable(_) | NoSuchElement(_) | StaleElementReference(_)
    )
}

/// The processes whose command line names the profile.
fn running_in(profile: &Path) -> Vec<u32> {
    let argument = format!("--user-data-dir={}", profile.display());
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let is_ours = |pid: &u32| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.split(|byte| *byte == 0).any(|part| part == argument.as_bytes())
    };
    pids.filter(is_ours).collect()
}
