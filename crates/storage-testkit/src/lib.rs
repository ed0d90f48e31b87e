//! What the tests of this workspace share: strategies for records and keys, temporary databases on
//! disk, and what is in them byte by byte.

pub mod damage;
mod dump;
pub mod first_home;
pub mod first_implementation;
mod fixture;
pub mod logs;
mod random;
pub mod strategy;

pub use dump::{Entry, dump};
pub use fixture::{Directory, LAYOUT, unpack};
pub use random::Random;
