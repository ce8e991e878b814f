//! Named places where a test ends the process as a power cut would.
//!
//! `WAVEMARK_CRASH=<name>:<n>` aborts the process when the place called `name` is passed for the `n`-th time.
//! Without the variable a point costs one relaxed load. [`POINTS`] lists every name, so that a test can fire each.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

/// Every place, in the order of a task's life.
pub const POINTS: &[&str] = &[
    "source.begun",
    "table.begun",
    "chunk.copied",
    "chunk.committed",
    "forward.before-commit",
    "forward.committed",
    "table.finished",
    "table.completed",
    "load.finished",
    "wave.read",
    "wave.applied",
    "wave.commit-sent",
    "wave.committed",
    "source.confirmed",
    "aside.begun",
];

struct Armed {
    name: String,
    left: AtomicU32,
}

fn armed() -> Option<&'static Armed> {
    static ARMED: OnceLock<Option<Armed>> = OnceLock::new();
    ARMED.get_or_init(|| parse(&std::env::var("WAVEMARK_CRASH").ok()?)).as_ref()
}

fn parse(text: &str) -> Option<Armed> {
    let (name, count) = text.rsplit_once(':')?;
    Some(Armed { name: name.to_owned(), left: AtomicU32::new(count.parse().ok()?) })
}

/// Passes the place called `name`, which must be in [`POINTS`].
#[inline]
pub fn point(name: &'static str) {
    debug_assert!(POINTS.contains(&name), "{name} is not in the list of crash points");
    if let Some(armed) = armed()
        && armed.name == name
        && armed.left.fetch_sub(1, Ordering::Relaxed) == 1
    {
        eprintln!("crash point {name} reached: aborting");
        std::process::abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_is_named_with_its_count() {
        let armed = parse("wave.committed:3").unwrap();
        assert_eq!(armed.name, "wave.committed");
        assert_eq!(armed.left.load(Ordering::Relaxed), 3);
        assert!(parse("wave.committed").is_none());
        assert!(parse("wave.committed:x").is_none());
    }
}
