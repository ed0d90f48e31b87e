//! Recorded version to what opening does about it.

use crate::info::Recorded;

/// What opening a database does about its schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Plan {
    /// Record the current version in an empty database.
    Initialize,
    /// Nothing.
    Ready,
    /// Climb from this version to the current one.
    Migrate {
        /// The version whose layout the records have.
        from: u32,
    },
    /// Refuse: a newer release wrote it.
    TooNew {
        /// The recorded version.
        found: u32,
    },
    /// Refuse: records without a version are never stamped with one.
    Unversioned,
}

/// The version whose layout the records have; 0 if there are none.
pub(crate) fn version_of(recorded: Recorded) -> u32 {
    match recorded {
        Recorded::Empty | Recorded::Unversioned => 0,
        Recorded::Version(version) => version,
        Recorded::FirstImplementation(_) => 1,
    }
}

/// Decides what a program that writes schema `current` does; pure.
pub fn plan(recorded: Recorded, current: u32) -> Plan {
    match recorded {
        Recorded::Empty => Plan::Initialize,
        Recorded::Unversioned => Plan::Unversioned,
        Recorded::Version(found) | Recorded::FirstImplementation(found) if found > current => {
            Plan::TooNew { found }
        }
        Recorded::Version(version) if version == current => Plan::Ready,
        Recorded::Version(from) => Plan::Migrate { from },
        Recorded::FirstImplementation(_) => Plan::Migrate { from: 1 },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_recorded_state_has_its_plan() {
        for (recorded, expected) in [
            (Recorded::Empty, Plan::Initialize),
            (Recorded::Unversioned, Plan::Unversioned),
            (Recorded::Version(1), Plan::Migrate { from: 1 }),
            (Recorded::Version(2), Plan::Ready),
            (Recorded::Version(3), Plan::TooNew { found: 3 }),
            (Recorded::FirstImplementation(1), Plan::Migrate { from: 1 }),
            (Recorded::FirstImplementation(2), Plan::Migrate { from: 1 }),
            (Recorded::FirstImplementation(3), Plan::TooNew { found: 3 }),
        ] {
            assert_eq!(plan(recorded, 2), expected, "{recorded:?}");
        }
    }
}
