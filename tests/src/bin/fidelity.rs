//! Keeps the tables of `docs/FIDELITY.md` true: writes them anew, or says whether they are what the code says (`--check`).

use anyhow::{Context as _, Result, bail};
use wavemark_tests::fidelity;

fn main() -> Result<()> {
    match std::env::args().nth(1).as_deref() {
        None => {
            let text = std::fs::read_to_string(fidelity::path()).context("reading docs/FIDELITY.md")?;
            std::fs::write(fidelity::path(), fidelity::written(&text)?).context("writing docs/FIDELITY.md")
        }
        Some("--check") => fidelity::check(),
        Some(other) => bail!("unknown argument {other}; the only one is --check"),
    }
}
