//! A standby of the simulated target: it has what the target committed some time later, and is all that counts for what
//! the source may forget.

use async_trait::async_trait;
use wavemark_domain::{Position, Problem};

use super::target::{SimulatedTarget, TargetState};
use super::{Mishap, Sabotage};
use crate::target::{Durability, Durable};

/// What a standby has.
#[derive(Clone, Debug, Default)]
pub struct Standby {
    /// The newest bookmark on its disk.
    pub flushed: Option<Position>,
}

impl TargetState {
    /// Gives the target a standby that has nothing yet.
    pub fn stand_by(&mut self) {
        self.standby = Some(Standby::default());
    }

    /// What would be left if the target were lost now: the newest bookmark of the standby, where there is one.
    #[must_use]
    pub fn durable(&self) -> Option<&Position> {
        match &self.standby {
            Some(standby) => standby.flushed.as_ref(),
            None => self.bookmark().map(|bookmark| &bookmark.position),
        }
    }
}

/// Says how far the standby is.
pub(super) struct Watch {
    pub(super) target: SimulatedTarget,
}

#[async_trait]
impl Durability for Watch {
    async fn durable(&mut self) -> Result<Durable, Problem> {
        self.target.pause("the standby").await?;
        let mut state = self.target.state();
        let newest = state.bookmark().map(|bookmark| bookmark.position.clone());
        let behind = state.chance.hits(700);
        let Some(standby) = &mut state.standby else { return Ok(Durable { position: newest, waits_for: None }) };
        if !behind {
            standby.flushed.clone_from(&newest);
        }
        if self.target.sabotage == Some(Sabotage::ConfirmBeforeDurable) {
            return Ok(Durable { position: newest, waits_for: None });
        }
        let position = standby.flushed.clone();
        let waits_for = behind.then(|| {
            state.chance.note(Mishap::StandbyBehind, None);
            Problem::transient("standby-behind", "simulated: the standby is behind")
        });
        Ok(Durable { position, waits_for })
    }
}
