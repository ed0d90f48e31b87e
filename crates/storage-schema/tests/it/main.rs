//! Migrations of real databases of the first implementation, and of simulated ones that crash.
#![expect(clippy::expect_used, reason = "a test ends at what it did not expect")]

mod chain;
mod kill;
mod old;
mod refused;

pub(crate) type TestResult = Result<(), Box<dyn std::error::Error>>;
