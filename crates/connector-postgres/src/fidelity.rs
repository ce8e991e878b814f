//! What becomes of this system's types, for `docs/FIDELITY.md`: to another system and from another.

use wavemark_connector::fidelity::{Given, Held};
use wavemark_domain::Logical;

/// Each type of a source of these.
#[must_use]
pub fn given() -> Vec<Given> {
    crate::types::given()
}

/// What a target of these does with a word of another system.
#[must_use]
pub fn held(logical: &Logical) -> Held {
    crate::target::word(logical)
}
