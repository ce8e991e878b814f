//! How often a login may fail: ten times per name and fifty times per address within five minutes. Kept in memory,
//! per server; the table is bounded.

use std::collections::{HashMap, VecDeque};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use axum::http::StatusCode;

use crate::problem::ApiProblem;

const WINDOW: Duration = Duration::from_mins(5);
const PER_NAME: usize = 10;
const PER_ADDRESS: usize = 50;
const MOST_KEYS: usize = 10_000;

/// Failed logins of the last minutes.
#[derive(Default)]
pub struct Attempts(Mutex<HashMap<String, VecDeque<Instant>>>);

impl Attempts {
    /// Counts an attempt before the password is looked at, so that many at once can't slip through.
    ///
    /// # Errors
    /// 429 with the time to wait.
    pub fn begin(&self, name: &str, address: Option<&str>, now: Instant) -> Result<(), ApiProblem> {
        let mut table = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if table.len() >= MOST_KEYS {
            forget(&mut table, now);
        }
        let keys = keys(name, address);
        for (key, most) in &keys {
            let times = table.entry(key.clone()).or_default();
            while times.front().is_some_and(|first| now - *first >= WINDOW) {
                times.pop_front();
            }
            if times.len() >= *most {
                let wait = times.front().map_or(WINDOW, |first| WINDOW.saturating_sub(now - *first));
                let text = "Too many failed logins. Wait and try again.";
                let problem = ApiProblem::new(StatusCode::TOO_MANY_REQUESTS, "too-many-logins", text);
                return Err(problem.retry_after(wait.as_secs() + 1));
            }
        }
        for (key, _) in keys {
            table.entry(key).or_default().push_back(now);
        }
        Ok(())
    }

    /// Forgets the attempts of a name that then logged in, and one of the address.
    pub fn succeeded(&self, name: &str, address: Option<&str>) {
        let mut table = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        table.remove(&format!("name {name}"));
        if let Some(times) = address.and_then(|address| table.get_mut(&format!("address {address}"))) {
            times.pop_back();
        }
    }
}

/// Forgets what is over, and if that is not enough the half that failed least often and longest ago: a flood of names
/// from many addresses must not fill the memory, and what was tried again and again stays counted.
fn forget(table: &mut HashMap<String, VecDeque<Instant>>, now: Instant) {
    table.retain(|_, times| times.back().is_some_and(|last| now - *last < WINDOW));
    if table.len() < MOST_KEYS {
        return;
    }
    let weight = |times: &VecDeque<Instant>| (times.len(), times.back().copied());
    let mut weights: Vec<_> = table.values().map(weight).collect();
    weights.sort_unstable();
    let middle = weights[weights.len() / 2];
    table.retain(|_, times| weight(times) > middle);
}

fn keys(name: &str, address: Option<&str>) -> Vec<(String, usize)> {
    let mut keys = vec![(format!("name {name}"), PER_NAME)];
    keys.extend(address.map(|address| (format!("address {address}"), PER_ADDRESS)));
    keys
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_eleventh_failure_of_a_name_waits_until_the_first_is_five_minutes_old() {
        let (attempts, now) = (Attempts::default(), Instant::now());
        for _ in 0..10 {
            attempts.begin("ann", Some("10.0.0.1"), now).unwrap();
        }
        assert_eq!(attempts.begin("ann", Some("10.0.0.2"), now).unwrap_err().code(), "too-many-logins");
        attempts.begin("bob", Some("10.0.0.1"), now).unwrap();
        let later = now + Duration::from_secs(301);
        attempts.begin("ann", Some("10.0.0.2"), later).unwrap();
    }

    #[test]
    fn an_address_that_tries_many_names_is_held_too() {
        let (attempts, now) = (Attempts::default(), Instant::now());
        for number in 0..50 {
            attempts.begin(&format!("user{number}"), Some("10.0.0.1"), now).unwrap();
        }
        assert!(attempts.begin("another", Some("10.0.0.1"), now).is_err());
        attempts.begin("another", Some("10.0.0.2"), now).unwrap();
    }

    #[test]
    fn a_flood_of_names_and_addresses_is_bounded_and_what_is_pressed_stays_held() {
        let (attempts, now) = (Attempts::default(), Instant::now());
        for number in 0..30_000_u64 {
            let at = now + Duration::from_millis(number);
            let _ = attempts.begin(&format!("user{number}"), Some(&format!("10.0.{}", number / 50)), at);
            if number % 2_500 == 0 {
                let _ = attempts.begin("ann", None, at);
            }
        }
        assert!(attempts.0.lock().unwrap().len() <= MOST_KEYS + 2);
        assert!(attempts.begin("ann", None, now + Duration::from_secs(31)).is_err());
    }

    #[test]
    fn a_login_that_succeeds_starts_the_count_again() {
        let (attempts, now) = (Attempts::default(), Instant::now());
        for _ in 0..100 {
            attempts.begin("ann", Some("10.0.0.1"), now).unwrap();
            attempts.succeeded("ann", Some("10.0.0.1"));
        }
    }
}
