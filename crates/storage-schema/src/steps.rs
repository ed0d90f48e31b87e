//! The chain of steps, in order.

use std::sync::Arc;

use crate::step::Step;
use crate::version::CURRENT_SCHEMA_VERSION;

mod v1_to_v2;

pub(crate) use v1_to_v2::V1ToV2;

/// Steps from an old version to the one that a program writes.
#[derive(Clone, Debug)]
pub struct Chain {
    steps: Vec<Arc<dyn Step>>,
}

impl Chain {
    /// The chain of this program.
    pub fn current() -> Self {
        Self::new(vec![Arc::new(V1ToV2)])
    }

    /// A chain of other steps, for tests.
    pub fn new(steps: Vec<Arc<dyn Step>>) -> Self {
        Self { steps }
    }

    /// The chain with one step more at its end.
    #[must_use]
    pub fn and(mut self, step: Arc<dyn Step>) -> Self {
        self.steps.push(step);
        self
    }

    /// The version that it ends at.
    pub fn target(&self) -> u32 {
        let last = self.steps.last();
        last.map_or(CURRENT_SCHEMA_VERSION, |step| step.ends_at())
    }

    /// The step that starts from a version.
    pub(crate) fn step_from(&self, version: u32) -> Option<&dyn Step> {
        let step = self.steps.iter().find(|step| step.starts_at() == version);
        step.map(|step| &**step)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chain_has_no_gap_and_ends_at_the_current_version() {
        let chain = Chain::current();
        let mut version = 1;
        while version < CURRENT_SCHEMA_VERSION {
            let step = chain.step_from(version).expect("a step from each version");
            assert_eq!(step.ends_at(), version + 1);
            version += 1;
        }
        assert_eq!(chain.target(), CURRENT_SCHEMA_VERSION);
        assert!(chain.step_from(CURRENT_SCHEMA_VERSION).is_none());
    }

    /// A shape or a step that was released is never edited: databases of it exist. Version N + 1 gets
    /// files of its own; see docs/MIGRATIONS.md.
    #[test]
    fn frozen_files_are_what_they_were() {
        for (name, text, expected) in [
            ("shapes/v1.rs", include_str!("shapes/v1.rs"), 0x22d0_5e56),
            ("shapes/v2.rs", include_str!("shapes/v2.rs"), 0x8084_852e),
            (
                "steps/v1_to_v2.rs",
                include_str!("steps/v1_to_v2.rs"),
                0x04e0_a1bb,
            ),
        ] {
            assert_eq!(
                crc32fast::hash(text.as_bytes()),
                expected,
                "{name} was edited"
            );
        }
    }
}
