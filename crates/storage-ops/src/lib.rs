//! Operations on a whole database: [`prune_metrics`], [`tree_sizes`].

mod prune;
mod sizes;

pub use prune::{PruneError, prune_metrics};
pub use sizes::{TreeSizes, tree_sizes};
