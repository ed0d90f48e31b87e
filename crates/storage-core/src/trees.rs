//! The trees: one module each, with the record it stores and the operations it offers.
//!
//! A function that changes takes the commit; one that must also read takes the view that the commit
//! starts from, and sees what the commit already holds. Nothing here knows the time: `now` is an
//! argument.

pub mod audit_log;
pub mod claims;
pub mod config;
pub mod epochs;
pub mod identity;
pub mod metrics;
pub mod peers;
pub mod secrets;
